#include "optim/rule_formulas.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "optim/newton_schulz.h"

namespace sluice::optim {
namespace {

using Values = std::vector<double>;

double norm(const Values& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

void add_decay(const Reference& r, Values& g, const UpdateArgs& a) {
  for (std::size_t i = 0; i < g.size(); ++i) g[i] += a.weight_decay * r.p[i];
}

void decay(Reference& r, double amount) {
  for (double& p : r.p) p *= 1 - amount;
}

Values adam_direction(Reference& r, const OptionValues& o, const Values& g, const UpdateArgs& a) {
  Values &m = r.state("exp_avg"), &v = r.state("exp_avg_sq"), d(g.size());
  const double t = o["bias_correction"] != 0 ? static_cast<double>(a.step) : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < g.size(); ++i) {
    m[i] = o["beta1"] * m[i] + (1 - o["beta1"]) * g[i];
    v[i] = o["beta2"] * v[i] + (1 - o["beta2"]) * g[i] * g[i];
    const double root = std::sqrt(v[i] / (1 - std::pow(o["beta2"], t)));
    d[i] = m[i] / (1 - std::pow(o["beta1"], t)) / (root + o["eps"]);
  }
  return d;
}

void step_along(Reference& r, const Values& direction, double rate) {
  for (std::size_t i = 0; i < r.p.size(); ++i) r.p[i] -= rate * direction[i];
}

void adamw(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  const Values direction = adam_direction(r, o, g, a);
  decay(r, a.lr * a.weight_decay);
  step_along(r, direction, a.lr);
}

void adam(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  add_decay(r, g, a);
  step_along(r, adam_direction(r, o, g, a), a.lr);
}

void lamb(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  Values direction = adam_direction(r, o, g, a);
  add_decay(r, direction, a);
  const double p = norm(r.p), d = norm(direction);
  const double most = o.given("max_coeff") ? o["max_coeff"] : std::numeric_limits<double>::infinity();
  const bool adapts = (a.weight_decay != 0 || o["use_nvlamb"] != 0) && p != 0 && d != 0;
  step_along(r, direction, a.lr * (adapts ? std::min(std::max(p / d, o["min_coeff"]), most) : 1));
}

void sgd(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  add_decay(r, g, a);
  if (o["momentum"] != 0) {
    Values& m = r.state("momentum_buffer");
    for (std::size_t i = 0; i < g.size(); ++i) {
      m[i] = a.step == 1 ? g[i] : o["momentum"] * m[i] + (1 - o["dampening"]) * g[i];
      g[i] = o["nesterov"] != 0 ? g[i] + o["momentum"] * m[i] : m[i];
    }
  }
  step_along(r, g, a.lr);
}

void lomo(Reference& r, const OptionValues&, Values g, const UpdateArgs& a) {
  decay(r, a.lr * a.weight_decay);
  step_along(r, g, a.lr);
}

void adagrad(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  add_decay(r, g, a);
  Values& sum = r.state("sum");
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (a.step == 1) sum[i] = o["initial_accumulator_value"];
    sum[i] += g[i] * g[i];
    g[i] /= std::sqrt(sum[i]) + o["eps"];
  }
  step_along(r, g, a.lr / (1 + static_cast<double>(a.step - 1) * o["lr_decay"]));
}

void rmsprop(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  add_decay(r, g, a);
  Values &v = r.state("square_avg"), &mean = r.state("grad_avg"), &buffer = r.state("momentum_buffer");
  for (std::size_t i = 0; i < g.size(); ++i) {
    v[i] = o["alpha"] * v[i] + (1 - o["alpha"]) * g[i] * g[i];
    mean[i] = o["alpha"] * mean[i] + (1 - o["alpha"]) * g[i];
    const double variance = o["centered"] != 0 ? v[i] - mean[i] * mean[i] : v[i];
    buffer[i] = o["momentum"] * buffer[i] + g[i] / (std::sqrt(variance) + o["eps"]);
  }
  step_along(r, buffer, a.lr);
}

void lion(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  Values& m = r.state("exp_avg");
  Values direction(g.size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double c = o["beta1"] * m[i] + (1 - o["beta1"]) * g[i];
    direction[i] = c > 0 ? 1 : c < 0 ? -1 : 0;
    m[i] = o["beta2"] * m[i] + (1 - o["beta2"]) * g[i];
  }
  decay(r, a.lr * a.weight_decay);
  step_along(r, direction, a.lr);
}

void lars(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  Values& m = r.state("momentum_buffer");
  const double p = norm(r.p), n = norm(g), wd = a.weight_decay;
  const double ratio = wd != 0 && p != 0 && n != 0 ? o["trust_coefficient"] * p / (n + wd * p) : 1;
  add_decay(r, g, a);
  for (std::size_t i = 0; i < g.size(); ++i) m[i] = o["momentum"] * m[i] + a.lr * ratio * g[i];
  step_along(r, m, 1);
}

/// The factored second moment's quotient; rows are all dimensions but the last.
Values factored_direction(Reference& r, const OptionValues& o, const Values& g, const UpdateArgs& a) {
  const double beta = 1 - std::pow(static_cast<double>(a.step), o["decay_rate"]);
  Values u(g.size());
  if (r.shape.size() < 2) {
    Values& v = r.state("exp_avg_sq");
    for (std::size_t i = 0; i < g.size(); ++i) {
      v[i] = beta * v[i] + (1 - beta) * (g[i] * g[i] + o["eps1"]);
      u[i] = g[i] / std::sqrt(v[i]);
    }
  } else {
    const auto n = static_cast<std::size_t>(r.shape.back());
    const std::size_t m = g.size() / n;
    Values &row = r.state("exp_avg_sq_row", m), &column = r.state("exp_avg_sq_col", n), rows(m), columns(n);
    for (std::size_t i = 0; i < g.size(); ++i) {
      rows[i / n] += (g[i] * g[i] + o["eps1"]) / static_cast<double>(n);
      columns[i % n] += (g[i] * g[i] + o["eps1"]) / static_cast<double>(m);
    }
    for (std::size_t i = 0; i < m; ++i) row[i] = beta * row[i] + (1 - beta) * rows[i];
    for (std::size_t i = 0; i < n; ++i) column[i] = beta * column[i] + (1 - beta) * columns[i];
    const double mean = std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(m);
    for (std::size_t i = 0; i < g.size(); ++i) u[i] = g[i] / std::sqrt(row[i / n] * column[i % n] / mean);
  }
  const double rms = norm(u) / std::sqrt(static_cast<double>(u.size()));
  for (double& x : u) x /= std::max(1.0, rms / o["clip_threshold"]);
  return u;
}

double root_mean_square(const Reference& r) { return norm(r.p) / std::sqrt(static_cast<double>(r.p.size())); }

void adafactor(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  const auto t = static_cast<double>(a.step);
  double lr = a.lr;
  if (o["relative_step"] != 0) lr = std::min(o["warmup_init"] != 0 ? 1e-6 * t : 1e-2, 1 / std::sqrt(t));
  if (o["scale_parameter"] != 0) lr *= std::max(o["eps2"], root_mean_square(r));
  Values update = factored_direction(r, o, g, a);
  for (double& u : update) u *= lr;
  if (o.given("beta1")) {
    Values& m = r.state("exp_avg");
    for (std::size_t i = 0; i < g.size(); ++i) m[i] = o["beta1"] * m[i] + (1 - o["beta1"]) * update[i];
    update = m;
  }
  decay(r, a.weight_decay * lr);
  step_along(r, update, 1);
}

void adalomo(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  const double lr = a.lr * std::max(o["eps2"], root_mean_square(r));
  const Values direction = factored_direction(r, o, g, a);
  decay(r, lr * a.weight_decay);
  step_along(r, direction, lr);
}

/// torch.optim.Muon for matrices, torch.optim.AdamW for vectors.
void muon(Reference& r, const OptionValues& o, Values g, const UpdateArgs& a) {
  if (r.shape.size() < 2) {
    constexpr OptionSpec kAdam[] = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"bias_correction", 1}};
    return adamw(r, OptionValues("optimizer", "adamw", kAdam, {}), std::move(g), a);
  }
  Values& m = r.state("momentum_buffer");
  const double mu = o["momentum"];
  for (std::size_t i = 0; i < g.size(); ++i) {
    m[i] = mu * m[i] + (1 - mu) * g[i];
    g[i] = o["nesterov"] != 0 ? (1 - mu) * g[i] + mu * m[i] : m[i];
  }
  const Values abc = o.numbers("ns_coefficients");
  const NewtonSchulz iteration{abc[0], abc[1], abc[2], static_cast<int>(o["ns_steps"]), o["eps"]};
  const auto rows = static_cast<double>(r.shape[0]), columns = static_cast<double>(g.size()) / rows;
  const double factor = o.choice("adjust_lr_fn") == "original" ? std::sqrt(std::max(1.0, rows / columns))
                                                               : 0.2 * std::sqrt(std::max(rows, columns));
  decay(r, a.lr * a.weight_decay);
  step_along(r, orthogonalized(iteration, g, static_cast<std::size_t>(r.shape[0])), a.lr * factor);
}

}  // namespace

const std::map<std::string, ReferenceStep, std::less<>>& reference_rules() {
  static const std::map<std::string, ReferenceStep, std::less<>> kRules = {
      {"adafactor", adafactor}, {"adagrad", adagrad}, {"adalomo", adalomo}, {"adam", adam},
      {"adamw", adamw},         {"lamb", lamb},       {"lars", lars},       {"lion", lion},
      {"lomo", lomo},           {"muon", muon},       {"rmsprop", rmsprop}, {"sgd", sgd}};
  return kRules;
}

}  // namespace sluice::optim
