// The orthogonal matrix that a rule's direction becomes, in fp64 and with plain loops: what the program's executor does
// with matrix products.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "optim/rule.h"

namespace sluice::optim {

using Matrix = std::vector<std::vector<double>>;

inline Matrix transposed(const Matrix& x) {
  Matrix t(x[0].size(), std::vector<double>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < x[i].size(); ++j) t[j][i] = x[i][j];
  }
  return t;
}

inline Matrix product(const Matrix& x, const Matrix& y) {
  Matrix z(x.size(), std::vector<double>(y[0].size(), 0));
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t k = 0; k < y.size(); ++k) {
      for (std::size_t j = 0; j < y[k].size(); ++j) z[i][j] += x[i][k] * y[k][j];
    }
  }
  return z;
}

/// `x` of that many rows, all of it one matrix.
inline std::vector<double> orthogonalized(const NewtonSchulz& iteration, const std::vector<double>& x,
                                          std::size_t rows) {
  const std::size_t columns = x.size() / rows;
  Matrix m(rows, std::vector<double>(columns));
  double squares = 0;
  for (const double value : x) squares += value * value;
  for (std::size_t i = 0; i < x.size(); ++i)
    m[i / columns][i % columns] = x[i] / std::max(std::sqrt(squares), iteration.eps);
  if (rows > columns) m = transposed(m);
  for (int step = 0; step < iteration.steps; ++step) {
    const Matrix gram = product(m, transposed(m));
    Matrix polynomial = product(gram, gram);
    for (std::size_t i = 0; i < gram.size(); ++i) {
      for (std::size_t j = 0; j < gram.size(); ++j)
        polynomial[i][j] = iteration.b * gram[i][j] + iteration.c * polynomial[i][j] + (i == j ? iteration.a : 0);
    }
    m = product(polynomial, m);
  }
  if (rows > columns) m = transposed(m);
  std::vector<double> result;
  for (const auto& row : m) result.insert(result.end(), row.begin(), row.end());
  return result;
}

}  // namespace sluice::optim
