// Memory that is used again: a batch's arrays take some 10 MB, and a fresh allocation of that size costs more time in
// page faults than sampling into it (measured: 5 ms against 0.4 ms for 16 MB).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace graphlearn {

// A growing array of numbers that keeps its memory when cleared and leaves new elements unset.
template <class T>
class Array {
  public:
    Array() = default;
    Array(Array&& other) noexcept : data_(other.data_), size_(other.size_), capacity_(other.capacity_) {
        other.data_ = nullptr;
        other.size_ = other.capacity_ = 0;
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { std::free(data_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    int64_t size() const { return size_; }
    void clear() { size_ = 0; }
    void shrink(int64_t size) { size_ = size; }

    // Appends `count` unset elements and returns the first; earlier pointers into the array may dangle.
    T* grow(int64_t count) {
        if (size_ + count > capacity_) {
            const int64_t capacity = std::max(size_ + count, 2 * capacity_);
            void* moved = std::realloc(data_, static_cast<size_t>(capacity) * sizeof(T));
            if (moved == nullptr) throw std::bad_alloc();
            data_ = static_cast<T*>(moved);
            capacity_ = capacity;
        }
        size_ += count;
        return data_ + size_ - count;
    }

  private:
    T* data_ = nullptr;
    int64_t size_ = 0, capacity_ = 0;
};

// One block of memory, handed to a tensor and back.
struct Buffer {
    int64_t* data;
    size_t bytes;
};

// The idle buffers of the process. Buffers come back from whatever thread drops a batch last.
class BufferPool {
  public:
    // Never destroyed: tensors may outlive every static object.
    static BufferPool& instance() {
        static BufferPool* pool = new BufferPool;
        return *pool;
    }

    // A buffer of at least `count` numbers, not much larger.
    Buffer* take(int64_t count) {
        const size_t bytes = std::max<size_t>(64, static_cast<size_t>(count) * sizeof(int64_t));
        {
            std::lock_guard<std::mutex> lock(mutex_);
            auto best = idle_.end();
            for (auto it = idle_.begin(); it != idle_.end(); ++it)
                if ((*it)->bytes >= bytes && (*it)->bytes <= 4 * bytes + kSmall &&
                    (best == idle_.end() || (*it)->bytes < (*best)->bytes))
                    best = it;
            if (best != idle_.end()) {
                Buffer* buffer = *best;
                idle_.erase(best);
                return buffer;
            }
        }
        return allocate(bytes);
    }

    void give_back(Buffer* buffer) noexcept {
        Buffer* dropped = nullptr;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            idle_.push_back(buffer);  // never reallocates: reserved below
            if (idle_.size() > kIdle) {
                dropped = idle_.front();
                idle_.erase(idle_.begin());
            }
        }
        if (dropped != nullptr) {
            std::free(dropped->data);
            delete dropped;
        }
    }

  private:
    static constexpr size_t kIdle = 8, kSmall = 1 << 16, kHugePage = 1 << 21;

    BufferPool() { idle_.reserve(kIdle + 1); }

    static Buffer* allocate(size_t bytes) {
        // A quarter more than asked for, so that the next batch, of about this size, fits too.
        bytes += bytes / 4;
        const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
        bytes = (bytes + alignment - 1) / alignment * alignment;
        std::unique_ptr<Buffer> buffer(new Buffer{static_cast<int64_t*>(std::aligned_alloc(alignment, bytes)), bytes});
        if (buffer->data == nullptr) throw std::bad_alloc();
#ifdef __linux__
        if (alignment == kHugePage) madvise(buffer->data, bytes, MADV_HUGEPAGE);
#endif
        return buffer.release();
    }

    std::mutex mutex_;
    std::vector<Buffer*> idle_;
};

struct GiveBack {
    void operator()(Buffer* buffer) const noexcept { BufferPool::instance().give_back(buffer); }
};
using BufferPtr = std::unique_ptr<Buffer, GiveBack>;

}  // namespace graphlearn
