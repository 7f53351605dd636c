// The rules once more, in fp64 and as their papers and packages write them, one plain function each.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "optim/rule.h"

namespace sluice::optim {

/// A tensor in fp64; states appear by name when they are first used, as zeros.
struct Reference {
  std::vector<std::int64_t> shape;
  std::vector<double> p;
  std::map<std::string, std::vector<double>> states = {};
  std::vector<double>& state(const std::string& name, std::size_t count = 0) {
    auto& values = states[name];
    values.resize(count > 0 ? count : p.size());
    return values;
  }
};

/// One step with the gradient `g`, already scaled.
using ReferenceStep = void (*)(Reference&, const OptionValues&, std::vector<double> g, const UpdateArgs&);

/// By the rule's name.
const std::map<std::string, ReferenceStep, std::less<>>& reference_rules();

}  // namespace sluice::optim
