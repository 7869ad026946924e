// Temporal neighbour sampling: one call makes one batch, on the calling thread, without the GIL.
// The twin in torch operations is graphlearn/sampling/torch_backend.py; both give the same batch, which is described at
// TemporalNeighborSampler (graphlearn/sampling/neighbor.py). Arguments are checked there: nothing here checks a bound.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "sampler_distinct.h"
#include "sampler_lists.h"
#include "sampler_memory.h"
#include "sampler_random.h"

namespace nb = nanobind;

namespace graphlearn {
namespace {

// The nodes of one type, level by level; in trees all levels but the last, which is written to the result at once.
struct Nodes {
    Array<int64_t> id, seed;
    Array<uint64_t> key;
};

// What one batch needs besides its result; kept for the next one.
struct Scratch {
    std::vector<Bounds> bounds;  // per type
    std::vector<Nodes> nodes;  // per type
    std::vector<Array<List>> lists;  // per relation: this hop
    std::vector<Array<int64_t>> take;  // per relation: entries taken from each list, over all hops
    std::vector<Array<int64_t>> col;  // per relation, where levels are shared
    std::vector<std::vector<int64_t>> level_size, edge_count;  // per type and level, per relation and hop
    std::vector<int64_t> begin;                                // per type: where the newest level begins
    Array<int64_t> picked;
    Distinct distinct;
    Draw draw;
};

constexpr int64_t kAhead = 8;  // lists between a prefetch and its use

class TemporalSampler {
  public:
    TemporalSampler(const std::vector<std::tuple<uintptr_t, int64_t, int64_t>>& tables,
                    const std::vector<std::tuple<size_t, size_t, uintptr_t, uintptr_t, bool>>& relations, int num_hops,
                    std::vector<std::vector<int64_t>> fan_out, bool uniform, bool disjoint)
        : num_hops_(num_hops), fan_out_(std::move(fan_out)), uniform_(uniform), disjoint_(disjoint) {
        for (const auto& [time, num_nodes, num_undated] : tables)
            tables_.push_back({reinterpret_cast<const int64_t*>(time), num_nodes, num_undated});
        for (const auto& [src, dst, rowptr, neighbor, wide] : relations)
            relations_.push_back({src, dst, reinterpret_cast<const int64_t*>(rowptr),
                                  reinterpret_cast<const void*>(neighbor), wide});
    }

    // Returns the batch as one array with the lengths of its parts, and the sizes of levels and hops. The parts are
    // n_id, seed and inverse of each type, rowptr and col of each relation, and rows of each type.
    nb::tuple sample(size_t seed_type, uintptr_t index, uintptr_t input_time, uintptr_t after, int64_t num_seeds,
                     int64_t base) {
        const Seeds seeds{seed_type,
                          reinterpret_cast<const int64_t*>(index),
                          reinterpret_cast<const int64_t*>(input_time),
                          reinterpret_cast<const int64_t*>(after),
                          num_seeds,
                          static_cast<uint64_t>(base)};
        std::unique_ptr<Scratch> s = take_scratch();
        std::vector<int64_t> lengths;
        BufferPtr buffer;
        {
            nb::gil_scoped_release unlocked;
            start(*s, seeds);
            for (int hop = 0; hop < num_hops_; ++hop) {
                for (size_t e = 0; e < relations_.size(); ++e) find_lists(*s, seeds, e, hop);
                if (!disjoint_)
                    grow_shared(*s, seeds, hop);
                else if (hop + 1 < num_hops_)
                    grow_trees(*s);
            }
            buffer = finish(*s, lengths);
        }
        const size_t total = static_cast<size_t>(sum(lengths));
        int64_t* data = buffer->data;
        nb::capsule owner(buffer.release(), [](void* p) noexcept { GiveBack()(static_cast<Buffer*>(p)); });
        nb::ndarray<nb::pytorch, int64_t, nb::ndim<1>> flat(data, {total}, owner);
        nb::tuple result = nb::make_tuple(flat, lengths, s->level_size, s->edge_count);
        keep_scratch(std::move(s));
        return result;
    }

  private:
    std::vector<NodeTable> tables_;
    std::vector<Relation> relations_;
    int num_hops_;
    std::vector<std::vector<int64_t>> fan_out_;  // per relation and hop; -1: all
    bool uniform_, disjoint_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> idle_;  // one for each thread that sampled at the same time as others

    std::unique_ptr<Scratch> take_scratch() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (idle_.empty()) return std::make_unique<Scratch>();
        std::unique_ptr<Scratch> s = std::move(idle_.back());
        idle_.pop_back();
        return s;
    }

    void keep_scratch(std::unique_ptr<Scratch> s) {
        std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(s));
    }

    void start(Scratch& s, const Seeds& seeds) const {
        const size_t num_types = tables_.size(), num_relations = relations_.size();
        s.bounds.resize(num_types);
        s.nodes.resize(num_types);
        s.lists.resize(num_relations);
        s.take.resize(num_relations);
        s.col.resize(num_relations);
        s.level_size.assign(num_types, {});
        s.edge_count.assign(num_relations, {});
        s.begin.assign(num_types, 0);
        for (size_t e = 0; e < num_relations; ++e) {
            s.take[e].clear();
            s.col[e].clear();
        }
        for (size_t t = 0; t < num_types; ++t) {
            find_bounds(tables_[t], s.bounds[t], seeds);
            Nodes& nodes = s.nodes[t];
            nodes.id.clear();
            nodes.seed.clear();
            nodes.key.clear();
            const int64_t count = t == seeds.type ? seeds.count : 0;
            s.level_size[t].push_back(count);
            std::copy(seeds.index, seeds.index + count, nodes.id.grow(count));
            int64_t* seed = nodes.seed.grow(count);
            std::iota(seed, seed + count, int64_t{0});
            if (uniform_) {
                uint64_t* key = nodes.key.grow(count);
                for (int64_t b = 0; b < count; ++b) key[b] = stream(seeds.base, b);
            }
        }
    }

    // Finds, for each node of the newest level of a relation's destination, its visible entries and how many to take.
    void find_lists(Scratch& s, const Seeds& seeds, size_t e, int hop) const {
        const Relation& relation = relations_[e];
        const int64_t k = fan_out_[e][static_cast<size_t>(hop)], count = s.level_size[relation.dst].back();
        s.lists[e].clear();
        List* lists = s.lists[e].grow(count);
        int64_t* take = s.take[e].grow(count);
        int64_t total = 0;
        if (k == 0) {
            std::fill(take, take + count, 0);
        } else {
            const NodeTable& table = tables_[relation.src];
            const Bounds& bounds = s.bounds[relation.src];
            const int64_t* id = s.nodes[relation.dst].id.data() + s.begin[relation.dst];
            const int64_t* seed = s.nodes[relation.dst].seed.data() + s.begin[relation.dst];
            if (relation.wide)
                visible<int64_t>(table, relation, bounds, seeds.after != nullptr, id, seed, count, lists);
            else
                visible<int32_t>(table, relation, bounds, seeds.after != nullptr, id, seed, count, lists);
            for (int64_t i = 0; i < count; ++i) {
                take[i] = k < 0 ? lists[i].size : std::min(lists[i].size, k);
                total += take[i];
            }
        }
        s.edge_count[e].push_back(total);
    }

    // Writes the taken entries of all lists of a relation, and unless null their seeds and keys.
    void pick(Scratch& s, size_t e, int64_t* id, int64_t* seed, uint64_t* key) const {
        if (s.edge_count[e].back() == 0) return;
        if (relations_[e].wide)
            pick_as<int64_t>(s, e, id, seed, key);
        else
            pick_as<int32_t>(s, e, id, seed, key);
    }

    template <class Id>
    void pick_as(Scratch& s, size_t e, int64_t* id, int64_t* seed, uint64_t* key) const {
        const Relation& relation = relations_[e];
        const Nodes& nodes = s.nodes[relation.dst];
        const Id* entries = static_cast<const Id*>(relation.neighbor);
        const List* lists = s.lists[e].data();
        const int64_t count = s.lists[e].size();
        const int64_t* take = s.take[e].data() + s.take[e].size() - count;
        const int64_t* owner_seed = nodes.seed.data() + s.begin[relation.dst];
        const uint64_t* owner_key = uniform_ ? nodes.key.data() + s.begin[relation.dst] : nullptr;
        for (int64_t i = 0; i < count; ++i) {
            if (i + kAhead < count) {
                const List& later = lists[i + kAhead];
                __builtin_prefetch(entries + later.start + later.size - take[i + kAhead]);
            }
            if (take[i] == 0) continue;
            const List& list = lists[i];
            const uint64_t list_key = uniform_ ? stream(owner_key[i], static_cast<int64_t>(e)) : 0;
            if (uniform_ && take[i] < list.size) {
                const int64_t* rank = s.draw.ranks(list_key, list.size, take[i], entries + list.start);
                for (int64_t j = 0; j < take[i]; ++j)
                    id[j] = entries[rank[j] + (rank[j] < list.head_size ? list.head_start : list.start)];
            } else {
                const int64_t skipped = list.size - take[i], head = std::max(list.head_size - skipped, int64_t{0});
                std::copy(entries + list.head_start + skipped, entries + list.head_start + skipped + head, id);
                std::copy(entries + list.start + skipped + head, entries + list.start + list.size, id + head);
            }
            if (seed != nullptr) seed = std::fill_n(seed, take[i], owner_seed[i]);
            if (key != nullptr) {
                for (int64_t j = 0; j < take[i]; ++j) key[j] = child_key(list_key, j);
                key += take[i];
            }
            id += take[i];
        }
    }

    // Trees: the picks of all relations into a type, one after the other, are its next level.
    void grow_trees(Scratch& s) const {
        for (size_t e = 0; e < relations_.size(); ++e) {
            Nodes& nodes = s.nodes[relations_[e].src];
            const int64_t total = s.edge_count[e].back();
            int64_t* id = nodes.id.grow(total);
            int64_t* seed = nodes.seed.grow(total);
            pick(s, e, id, seed, uniform_ ? nodes.key.grow(total) : nullptr);
        }
        next_level(s);
    }

    // Shared levels: the next level of a type are the distinct rows of all its picks, in increasing order.
    void grow_shared(Scratch& s, const Seeds& seeds, int hop) const {
        for (size_t t = 0; t < tables_.size(); ++t) {
            s.picked.clear();
            for (size_t e = 0; e < relations_.size(); ++e)
                if (relations_[e].src == t) pick(s, e, s.picked.grow(s.edge_count[e].back()), nullptr, nullptr);

            Nodes& nodes = s.nodes[t];
            const int64_t offset = nodes.id.size();
            s.distinct.reserve(tables_[t].num_nodes);
            s.distinct.mark(s.picked.data(), s.picked.size());
            const int64_t size = s.distinct.emit(nodes.id.grow(s.picked.size() + Distinct::kSlack));
            nodes.id.shrink(offset + size);
            std::fill_n(nodes.seed.grow(size), size, int64_t{0});
            if (uniform_) {
                const uint64_t level_key = stream(~seeds.base, hop);
                const uint64_t type_key = stream(level_key, static_cast<int64_t>(t));
                uint64_t* key = nodes.key.grow(size);
                for (int64_t i = 0; i < size; ++i) key[i] = stream(type_key, nodes.id.data()[offset + i]);
            }
            const int64_t* picked = s.picked.data();
            for (size_t e = 0; e < relations_.size(); ++e) {
                if (relations_[e].src != t) continue;
                const int64_t total = s.edge_count[e].back();
                s.distinct.places(picked, total, offset, s.col[e].grow(total));
                picked += total;
            }
            s.distinct.clear();
        }
        next_level(s);
    }

    void next_level(Scratch& s) const {
        for (size_t t = 0; t < tables_.size(); ++t) {
            s.begin[t] += s.level_size[t].back();
            s.level_size[t].push_back(s.nodes[t].id.size() - s.begin[t]);
        }
    }

    // Lays out the result, copies the levels into it, and writes the last level of the trees in place.
    BufferPtr finish(Scratch& s, std::vector<int64_t>& lengths) const {
        const size_t num_types = tables_.size(), num_relations = relations_.size();
        const bool in_place = disjoint_ && num_hops_ > 0;
        if (in_place) {
            for (size_t t = 0; t < num_types; ++t) s.level_size[t].push_back(0);
            for (size_t e = 0; e < num_relations; ++e) s.level_size[relations_[e].src].back() += s.edge_count[e].back();
        }
        std::vector<int64_t> num_nodes(num_types), num_edges(num_relations);
        int64_t capacity = Distinct::kSlack;
        for (size_t t = 0; t < num_types; ++t) {
            num_nodes[t] = sum(s.level_size[t]);
            lengths.insert(lengths.end(), 3, num_nodes[t]);
            capacity += 4 * num_nodes[t];
        }
        for (size_t e = 0; e < num_relations; ++e) {
            num_edges[e] = sum(s.edge_count[e]);
            lengths.insert(lengths.end(), {s.take[e].size() + 1, num_edges[e]});
            capacity += s.take[e].size() + 1 + num_edges[e];
        }

        BufferPtr buffer(BufferPool::instance().take(capacity));
        int64_t* out = buffer->data;
        std::vector<int64_t*> n_id(num_types), end(num_types);
        for (size_t t = 0; t < num_types; ++t) {
            n_id[t] = out;
            end[t] = std::copy_n(s.nodes[t].id.data(), s.nodes[t].id.size(), n_id[t]);
            std::copy_n(s.nodes[t].seed.data(), s.nodes[t].seed.size(), n_id[t] + num_nodes[t]);
            out += 3 * num_nodes[t];
        }
        for (size_t e = 0; e < num_relations && in_place; ++e) {
            const size_t t = relations_[e].src;
            pick(s, e, end[t], end[t] + num_nodes[t], nullptr);
            end[t] += s.edge_count[e].back();
        }
        out = write_edges(s, out);
        for (size_t t = 0; t < num_types; ++t) {
            s.distinct.reserve(tables_[t].num_nodes);
            s.distinct.mark(n_id[t], num_nodes[t]);
            lengths.push_back(s.distinct.emit(out));
            out += lengths.back();
            int64_t* inverse = n_id[t] + 2 * num_nodes[t];
            s.distinct.places(n_id[t], num_nodes[t], 0, inverse);
            s.distinct.clear();
        }
        return buffer;
    }

    // Writes rowptr and col of every relation and returns the end.
    int64_t* write_edges(const Scratch& s, int64_t* out) const {
        std::vector<int64_t*> col(relations_.size());
        for (size_t e = 0; e < relations_.size(); ++e) {
            *out++ = 0;
            out = std::partial_sum(s.take[e].data(), s.take[e].data() + s.take[e].size(), out);
            col[e] = out;
            out += sum(s.edge_count[e]);
            std::copy_n(s.col[e].data(), s.col[e].size(), col[e]);
        }
        if (!disjoint_) return out;
        // In a tree every node but the seeds is the source of one edge, and both stand in the same order.
        std::vector<int64_t> source(tables_.size());
        for (size_t t = 0; t < tables_.size(); ++t) source[t] = s.level_size[t][0];
        for (size_t hop = 0; hop < static_cast<size_t>(num_hops_); ++hop) {
            for (size_t e = 0; e < relations_.size(); ++e) {
                const int64_t count = s.edge_count[e][hop];
                int64_t& first = source[relations_[e].src];
                std::iota(col[e], col[e] + count, first);
                first += count;
                col[e] += count;
            }
        }
        return out;
    }

    static int64_t sum(const std::vector<int64_t>& values) {
        return std::accumulate(values.begin(), values.end(), int64_t{0});
    }
};

}  // namespace
}  // namespace graphlearn

void register_sampler(nb::module_& m) {
    using graphlearn::TemporalSampler;
    nb::class_<TemporalSampler>(m, "TemporalSampler")
        .def(nb::init<const std::vector<std::tuple<uintptr_t, int64_t, int64_t>>&,
                      const std::vector<std::tuple<size_t, size_t, uintptr_t, uintptr_t, bool>>&, int,
                      std::vector<std::vector<int64_t>>, bool, bool>(),
             nb::arg("tables"), nb::arg("relations"), nb::arg("num_hops"), nb::arg("fan_out"), nb::kw_only(),
             nb::arg("uniform"), nb::arg("disjoint"))
        .def("sample", &TemporalSampler::sample, nb::arg("seed_type"), nb::arg("index"), nb::arg("input_time"),
             nb::arg("after"), nb::arg("num_seeds"), nb::arg("base"));
}
