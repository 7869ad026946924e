// The native kernels: plain pointers in, plain pointers out. Nothing here knows torch, so one build serves every torch version.
#include <nanobind/nanobind.h>

void register_sampler(nanobind::module_& m);
void register_reduce(nanobind::module_& m);
void register_index(nanobind::module_& m);
void register_parse(nanobind::module_& m);
void register_subgraph(nanobind::module_& m);
void register_walk(nanobind::module_& m);
void register_quantized(nanobind::module_& m);

NB_MODULE(_kernels, m) {
    register_sampler(m);
    register_reduce(m);
    register_index(m);
    register_parse(m);
    register_subgraph(m);
    register_walk(m);
    register_quantized(m);
}
