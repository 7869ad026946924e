// Clusters of a graph from its best edges: the native twin of graphlearn/ops/parse.py.
#include <nanobind/nanobind.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace nb = nanobind;

namespace {

// Each node points to the other end of its best edge, the first of equal ones. `root`: the node at the end of each
// node's way, the smaller end of its cluster's best edge. `cluster`: those numbered in the order of the nodes.
// False: an index is no node, or a score is NaN.
bool parse_clusters(uintptr_t edge_index, uintptr_t edge_score, int64_t num_edges, int64_t num_nodes,
                    uintptr_t root_out, uintptr_t cluster_out) {
    const auto* ends = reinterpret_cast<const int64_t*>(edge_index);
    const auto* score = reinterpret_cast<const double*>(edge_score);
    auto* root = reinterpret_cast<int64_t*>(root_out);
    auto* cluster = reinterpret_cast<int64_t*>(cluster_out);
    std::vector<int64_t> best(num_nodes, -1);
    for (int64_t e = 0; e < num_edges; ++e) {
        if (std::isnan(score[e])) return false;
        for (const int64_t node : {ends[e], ends[num_edges + e]}) {
            if (node < 0 || node >= num_nodes) return false;
            if (best[node] < 0 || score[e] > score[best[node]]) best[node] = e;
        }
    }
    // With one order of all edges only the two ends of one edge can choose each other; the smaller one is their root.
    for (int64_t node = 0; node < num_nodes; ++node) {
        const int64_t e = best[node];
        const int64_t other = e < 0 ? node : ends[e] + ends[num_edges + e] - node;
        root[node] = best[other] == e && node < other ? node : other;
    }
    for (int64_t node = 0; node < num_nodes; ++node) {
        int64_t end = node;
        while (root[end] != end) end = root[end];
        for (int64_t step = node; root[step] != end;) {  // the way is not walked twice
            const int64_t next = root[step];
            root[step] = end;
            step = next;
        }
    }
    int64_t count = 0;
    for (int64_t node = 0; node < num_nodes; ++node) {
        if (root[node] == node) cluster[node] = count++;
    }
    for (int64_t node = 0; node < num_nodes; ++node) cluster[node] = cluster[root[node]];
    return true;
}

}  // namespace

void register_parse(nb::module_& m) {
    m.def("parse_clusters", &parse_clusters, nb::call_guard<nb::gil_scoped_release>());
}
