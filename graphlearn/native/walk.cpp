// Walks around pairs of nodes: two columns taken through a sparse matrix, step after step, and back. Twin: the torch
// branches of graphlearn/ops/walk.py. Single-threaded: a batch of subgraphs is too small to share out.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <vector>

namespace nb = nanobind;

namespace {

struct Two {
    float a, b;
};

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

template <class Col>
bool in_range(const int64_t* rowptr, const Col* col, int64_t num_nodes, int64_t num_entries) {
    if (rowptr[0] != 0 || rowptr[num_nodes] != num_entries) return false;
    bool fine = true;
    for (int64_t v = 0; v < num_nodes; ++v) fine &= rowptr[v] <= rowptr[v + 1];
    for (int64_t e = 0; e < num_entries; ++e) fine &= static_cast<uint64_t>(col[e]) < static_cast<uint64_t>(num_nodes);
    return fine;
}

// x[t + 1] = P x[t] for t below `length`, x [length + 1, num_nodes, 2], its first step given.
template <class Col>
bool forward(const float* prob, const int64_t* rowptr, const Col* col, int64_t num_nodes, int64_t num_entries,
             int64_t length, Two* x) {
    if (!in_range(rowptr, col, num_nodes, num_entries)) return false;
    for (int64_t t = 0; t < length; ++t, x += num_nodes) {
        for (int64_t v = 0; v < num_nodes; ++v) {
            Two even{0, 0}, odd{0, 0};  // two sums, so that an addition need not wait for the one before
            int64_t e = rowptr[v];
            const int64_t stop = rowptr[v + 1];
            for (; e + 1 < stop; e += 2) {
                const Two s = x[col[e]], u = x[col[e + 1]];
                even.a += prob[e] * s.a, even.b += prob[e] * s.b;
                odd.a += prob[e + 1] * u.a, odd.b += prob[e + 1] * u.b;
            }
            if (e < stop) even.a += prob[e] * x[col[e]].a, even.b += prob[e] * x[col[e]].b;
            x[num_nodes + v] = {even.a + odd.a, even.b + odd.b};
        }
    }
    return true;
}

// The gradient for `prob`, which holds zeros, from that of the rows `at` of each step, grad [length + 1, num_at, 2].
template <class Col>
void backward(const float* prob, const int64_t* rowptr, const Col* col, int64_t num_nodes, int64_t length, const Two* x,
              const int64_t* at, int64_t num_at, const Two* grad, float* slope) {
    std::vector<Two> state(num_nodes, Two{0, 0}), before(num_nodes);
    auto add = [&](std::vector<Two>& to, int64_t t) {
        for (int64_t k = 0; k < num_at; ++k) {
            to[at[k]].a += grad[t * num_at + k].a;
            to[at[k]].b += grad[t * num_at + k].b;
        }
    };
    add(state, length);
    for (int64_t t = length - 1; t >= 0; --t) {
        const Two* step = x + t * num_nodes;
        std::fill(before.begin(), before.end(), Two{0, 0});
        for (int64_t v = 0; v < num_nodes; ++v) {
            const Two g = state[v];
            if (g.a == 0 && g.b == 0) continue;  // far from the pair in the last steps
            for (int64_t e = rowptr[v]; e < rowptr[v + 1]; ++e) {
                Two& to = before[col[e]];
                slope[e] += g.a * step[col[e]].a + g.b * step[col[e]].b;
                to.a += prob[e] * g.a;
                to.b += prob[e] * g.b;
            }
        }
        add(before, t);
        state.swap(before);
    }
}

bool pair_walks(uintptr_t prob, uintptr_t rowptr, uintptr_t col, int col_bytes, int64_t num_nodes, int64_t num_entries,
                int64_t length, uintptr_t x) {
    const auto *p = pointer<const float>(prob);
    const auto *r = pointer<const int64_t>(rowptr);
    if (col_bytes == 4) return forward(p, r, pointer<const int32_t>(col), num_nodes, num_entries, length, pointer<Two>(x));
    return forward(p, r, pointer<const int64_t>(col), num_nodes, num_entries, length, pointer<Two>(x));
}

void pair_walks_backward(uintptr_t prob, uintptr_t rowptr, uintptr_t col, int col_bytes, int64_t num_nodes, int64_t length,
                         uintptr_t x, uintptr_t at, int64_t num_at, uintptr_t grad, uintptr_t slope) {
    auto run = [&](const auto* c) {
        backward(pointer<const float>(prob), pointer<const int64_t>(rowptr), c, num_nodes, length, pointer<const Two>(x),
                 pointer<const int64_t>(at), num_at, pointer<const Two>(grad), pointer<float>(slope));
    };
    if (col_bytes == 4) run(pointer<const int32_t>(col));
    else run(pointer<const int64_t>(col));
}

}  // namespace

void register_walk(nb::module_& m) {
    using Released = nb::call_guard<nb::gil_scoped_release>;
    m.def("pair_walks", &pair_walks, Released());
    m.def("pair_walks_backward", &pair_walks_backward, Released());
}
