#include "jinja/template.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "jinja/evaluator.h"

namespace sluice::jinja {

Template::Template(std::string_view source, std::string origin, const Limits& limits)
    : program_(std::make_unique<const Program>(parse_program(source, std::move(origin), limits))) {}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Rendered Template::render(const nlohmann::ordered_json& variables, std::time_t now) const {
  try {
    Dict given;
    for (const auto& [name, value] : variables.items()) given.emplace_back(name, from_json(value));
    return Evaluator(*program_, now).run(std::move(given));
  } catch (const std::length_error& error) {  // variables that are nested too deeply
    fail(program_->origin, 1, error.what());
  }
}

bool Template::marks_generation() const { return program_->marks_generation; }

}  // namespace sluice::jinja
