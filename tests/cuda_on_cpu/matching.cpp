// What differs by the architecture, apart from all that does not.
#include "cuda/matching.cu"
