// What CMake knows about this build, for build_info(). In a file of its own, build_config.cpp.in: when it
// changes, the bindings need not be compiled again.
#pragma once

namespace vlp {

extern const char* const kCudaVersion;
extern const char* const kCudaArchs;  // "75-real 80-real 90"
extern const char* const kCudaNote;   // why CUDA is left out

}  // namespace vlp
