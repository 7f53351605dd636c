#include "model/matrix_product.h"

// Fortran BLAS with 32-bit sizes, by columns.
extern "C" void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                       const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                       const float* beta, float* c, const int* ldc);

// MKL's: inputs are bf16, sums and result fp32.
extern "C" void gemm_bf16bf16f32_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                                  const float* alpha, const std::uint16_t* a, const int* lda, const std::uint16_t* b,
                                  const int* ldb, const float* beta, float* c, const int* ldc);

// MKL's: 0 stands for the number of threads set for all; returns what was set before.
extern "C" int MKL_Set_Num_Threads_Local(int num_threads);

namespace sluice::model {

SequentialProducts::SequentialProducts() : before_(MKL_Set_Num_Threads_Local(1)) {}
SequentialProducts::~SequentialProducts() { MKL_Set_Num_Threads_Local(before_); }

namespace {

// By columns, every matrix here is its transpose: c^T = b^T a^T.
template <typename Part, typename Gemm>
void multiply_by_columns(Gemm* gemm, ProductSizes sizes, const Part& a, const Part& b, const MatrixTarget& c,
                         float scale) {
  const char trans_a = a.transposed ? 'T' : 'N', trans_b = b.transposed ? 'T' : 'N';
  const int m = static_cast<int>(sizes.m), n = static_cast<int>(sizes.n), k = static_cast<int>(sizes.k);
  const int lda = static_cast<int>(a.stride), ldb = static_cast<int>(b.stride), ldc = static_cast<int>(c.stride);
  const float beta = c.adds ? 1.0F : 0.0F;
  gemm(&trans_b, &trans_a, &n, &m, &k, &scale, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc);
}

}  // namespace

void multiply(ProductSizes sizes, const MatrixPart& a, const MatrixPart& b, const MatrixTarget& c) {
  multiply_by_columns(sgemm_, sizes, a, b, c, 1);
}

void multiply(ProductSizes sizes, const NarrowMatrixPart& a, const NarrowMatrixPart& b, const MatrixTarget& c,
              float scale) {
  multiply_by_columns(gemm_bf16bf16f32_, sizes, a, b, c, scale);
}

}  // namespace sluice::model
