#define VLP_CUDA_VERSION "none: on the CPU"
#define VLP_CUDA_ARCHS ""
