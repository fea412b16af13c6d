// A function that is compiled once for every vector instruction set which a machine may have, and chosen when
// the binary is loaded. What it calls must be inlined, or it stays with the oldest.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VLP_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), flatten))
#else
#define VLP_VECTOR_CLONES
#endif
