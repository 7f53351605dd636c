// Which kernels MKL may use on this processor. MKL asks itself "is this an Intel processor?" and gives every other one
// kernels of its own choice, whatever the processor can do: on an AMD core with 512-bit units they reach 43 % of the
// rate of MKL's AVX-512 kernels, and 83 % of its AVX2 ones (docs/design/003-where-the-time-goes.md). This definition
// stands before MKL's own in the order in which the loader looks symbols up, and lets MKL choose by the features that
// the processor reports. The same question decides whether products of bf16 numbers use AVX512_BF16 where it is there
// (bench/results/speed.md). MKL_ENABLE_INSTRUCTIONS=AVX2 in the environment still limits the choice.

extern "C" __attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ? 1 : 0;
}
