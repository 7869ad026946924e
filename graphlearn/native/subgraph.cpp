// The subgraph around each of many links. Twin: graphlearn/sampling/enclosing_torch.py; the same nodes and edges in the
// same order. An index of the graph is compared with its bound when the graph is read, a link's ends by the caller.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "sampler_random.h"

namespace nb = nanobind;

namespace {

constexpr int64_t kChunk = 8;  // links

struct Graph {
    const int64_t* rowptr;
    const int32_t* col;  // increasing in each list
    int64_t num_nodes;
};

// What one thread needs between links: which nodes are in the current subgraph, their numbers there (-1: not in it), and
// room to write one more than there is, so that what does not count can be written too and no branch is guessed wrong.
struct Scratch {
    explicit Scratch(int64_t num_nodes) : mark(num_nodes + 8, 0), local(num_nodes, -1), found(num_nodes + 1) {}
    std::vector<uint8_t> mark;
    std::vector<int32_t> local, found, src;
    std::vector<std::pair<uint64_t, int32_t>> drawn;
};

// One link's subgraph: nodes in increasing order, the sources of each one's edges (numbered within), and where those start.
struct Part {
    std::vector<int32_t> nodes, src, start;
    int32_t pair[2];
};

class Enclosed {
  public:
    Enclosed(uintptr_t rowptr, uintptr_t col, int64_t num_nodes, uintptr_t links, int64_t num_links, int hops, int64_t cap,
             uintptr_t keys, int threads)
        : graph_{reinterpret_cast<const int64_t*>(rowptr), reinterpret_cast<const int32_t*>(col), num_nodes},
          num_links_(num_links), threads_(threads) {
        const auto* link = reinterpret_cast<const int64_t*>(links);
        const auto* key = reinterpret_cast<const uint64_t*>(keys);
        src_.assign(link, link + num_links);
        dst_.assign(link + num_links, link + 2 * num_links);
        parts_.resize(num_links);
        over_links([&](int64_t l, Scratch& scratch) {
            collect_nodes(l, hops, cap, key ? key[l] : 0, scratch);
            collect_edges(l, scratch);
        });
        for (const Part& part : parts_) num_nodes_ += part.nodes.size(), num_edges_ += part.src.size();
    }

    int64_t num_nodes() const { return num_nodes_; }
    int64_t num_edges() const { return num_edges_; }

    void write(uintptr_t node, uintptr_t batch, uintptr_t ptr, uintptr_t rowptr, uintptr_t edges, uintptr_t mask,
               uintptr_t pair) const {
        auto* to_node = reinterpret_cast<int64_t*>(node);
        auto* to_batch = reinterpret_cast<int64_t*>(batch);
        auto* to_ptr = reinterpret_cast<int64_t*>(ptr);
        auto* to_rowptr = reinterpret_cast<int64_t*>(rowptr);
        auto* to_src = reinterpret_cast<int64_t*>(edges);
        auto* to_dst = to_src + num_edges_;
        auto* to_mask = reinterpret_cast<bool*>(mask);
        auto* to_pair = reinterpret_cast<int64_t*>(pair);
        std::vector<int64_t> first_edge(num_links_ + 1, 0);
        to_ptr[0] = 0;
        for (int64_t l = 0; l < num_links_; ++l) {
            to_ptr[l + 1] = to_ptr[l] + static_cast<int64_t>(parts_[l].nodes.size());
            first_edge[l + 1] = first_edge[l] + static_cast<int64_t>(parts_[l].src.size());
        }
        to_rowptr[num_nodes_] = num_edges_;
        parallel(workers(), num_links_, [&](int64_t l) {
            const Part& part = parts_[l];
            const int64_t first = to_ptr[l], size = part.nodes.size(), edge = first_edge[l];
            for (int64_t i = 0; i < size; ++i) {
                to_node[first + i] = part.nodes[i];
                to_batch[first + i] = l;
                to_rowptr[first + i] = edge + part.start[i];
                std::fill(to_dst + edge + part.start[i], to_dst + edge + part.start[i + 1], first + i);
            }
            const int64_t count = part.src.size();
            for (int64_t e = 0; e < count; ++e) to_src[edge + e] = first + part.src[e];
            std::memset(to_mask + edge, 1, count);
            for (int end = 0; end < 2; ++end) {
                const int32_t here = part.pair[end], there = part.pair[1 - end];
                const int32_t* begin = part.src.data() + part.start[here];
                const int32_t* stop = part.src.data() + part.start[here + 1];
                to_mask[edge + (std::lower_bound(begin, stop, there) - part.src.data())] = false;
                to_pair[end * num_links_ + l] = first + here;
            }
        });
    }

  private:
    int workers() const {
        return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads_, num_links_ / (4 * kChunk))));
    }

    template <class Body>
    void over_links(Body body) {
        std::atomic<int64_t> next{0};
        parallel(workers(), workers(), [&](int64_t) {
            Scratch scratch(graph_.num_nodes);
            for (int64_t begin; (begin = next.fetch_add(kChunk)) < num_links_;)
                for (int64_t l = begin; l < std::min(num_links_, begin + kChunk); ++l) body(l, scratch);
        });
    }

    // The nodes within `hops` of either end; of the new ones of a hop at most `cap`.
    void collect_nodes(int64_t l, int hops, int64_t cap, uint64_t key, Scratch& scratch) {
        int32_t* found = scratch.found.data();
        uint8_t* mark = scratch.mark.data();
        int64_t begin = 0, end = 2;
        found[0] = static_cast<int32_t>(src_[l]);
        found[1] = static_cast<int32_t>(dst_[l]);
        mark[found[0]] = mark[found[1]] = 1;
        for (; hops > 0 && begin < end; --hops) {
            int64_t size = end;
            for (int64_t i = begin; i < end; ++i) {
                for (int64_t k = graph_.rowptr[found[i]], stop = graph_.rowptr[found[i] + 1]; k < stop; ++k) {
                    const int32_t v = graph_.col[k];
                    found[size] = v;
                    size += 1 - mark[v];
                    mark[v] = 1;
                }
            }
            begin = end;
            if (cap >= 0 && size - begin > cap) {
                auto& drawn = scratch.drawn;
                drawn.clear();
                for (int64_t i = begin; i < size; ++i) drawn.emplace_back(graphlearn::stream(key, found[i]) >> 1, found[i]);
                std::nth_element(drawn.begin(), drawn.begin() + cap, drawn.end());
                // Those that were not drawn may be found again from the next hop.
                for (size_t i = cap; i < drawn.size(); ++i) mark[drawn[i].second] = 0;
                for (int64_t i = 0; i < cap; ++i) found[begin + i] = drawn[i].second;
                size = begin + cap;
            }
            end = size;
        }
        auto& nodes = parts_[l].nodes;
        nodes.resize(end);
        if (end * 32 > graph_.num_nodes) {  // reading all marks in order is then faster than sorting
            int64_t size = 0;
            for (int64_t base = 0; base < graph_.num_nodes; base += 8) {
                uint64_t marks;
                std::memcpy(&marks, mark + base, 8);
                for (; marks != 0; marks &= marks - 1) nodes[size++] = static_cast<int32_t>(base + __builtin_ctzll(marks) / 8);
            }
            std::fill_n(mark, graph_.num_nodes, uint8_t{0});
        } else {
            std::copy_n(found, end, nodes.begin());
            std::sort(nodes.begin(), nodes.end());
            for (int32_t v : nodes) mark[v] = 0;
        }
    }

    void collect_edges(int64_t l, Scratch& scratch) {
        Part& part = parts_[l];
        const int64_t size = part.nodes.size();
        int32_t* local = scratch.local.data();
        int64_t most = 3;  // the link in both directions, and the one more
        for (int64_t i = 0; i < size; ++i) {
            const int32_t v = part.nodes[i];
            local[v] = static_cast<int32_t>(i);
            most += graph_.rowptr[v + 1] - graph_.rowptr[v];
        }
        if (static_cast<int64_t>(scratch.src.size()) < most) scratch.src.resize(most);
        int32_t* src = scratch.src.data();
        const int32_t a = part.pair[0] = local[src_[l]], b = part.pair[1] = local[dst_[l]];
        part.start.resize(size + 1);
        int64_t e = 0;
        for (int32_t i = 0; i < size; ++i) {
            const int64_t begin = part.start[i] = static_cast<int32_t>(e);
            const int32_t v = part.nodes[i];
            for (int64_t k = graph_.rowptr[v], stop = graph_.rowptr[v + 1]; k < stop; ++k) {
                const int32_t j = local[graph_.col[k]];
                src[e] = j;
                e += j >= 0;
            }
            if (i == a || i == b) {  // the link takes its place in the order, if it is not there
                const int32_t other = i == a ? b : a;
                int32_t* place = std::lower_bound(src + begin, src + e, other);
                if (place == src + e || *place != other) {
                    std::copy_backward(place, src + e, src + e + 1);
                    *place = other;
                    ++e;
                }
            }
        }
        part.start[size] = static_cast<int32_t>(e);
        part.src.assign(src, src + e);
        for (int32_t v : part.nodes) local[v] = -1;
    }

    Graph graph_;
    int64_t num_links_;
    int threads_;
    std::vector<int64_t> src_, dst_;
    std::vector<Part> parts_;
    int64_t num_nodes_ = 0, num_edges_ = 0;
};

}  // namespace

void register_subgraph(nb::module_& m) {
    using Released = nb::call_guard<nb::gil_scoped_release>;
    nb::class_<Enclosed>(m, "Enclosed")
        .def(nb::init<uintptr_t, uintptr_t, int64_t, uintptr_t, int64_t, int, int64_t, uintptr_t, int>(), Released())
        .def_prop_ro("num_nodes", &Enclosed::num_nodes)
        .def_prop_ro("num_edges", &Enclosed::num_edges)
        .def("write", &Enclosed::write, Released());
}
