#include <stdexcept>

#include "jinja/evaluator.h"
#include "jinja/text.h"

namespace sluice::jinja {

Evaluator::Evaluator(const Program& program, std::time_t now)
    : program_(program), now_(now), bounds_{.text_bytes = program.limits.text_bytes} {}

Rendered Evaluator::run(Dict variables) {
  globals_ = std::make_shared<Scope>();
  define_functions(globals_->variables);
  const auto scope = std::make_shared<Scope>(Scope{globals_, std::move(variables)});
  Rendered rendered;
  top_ = &rendered.text;
  execute(program_.body, scope, rendered.text);
  rendered.generated = std::move(generated_);
  return rendered;
}

void Evaluator::append(std::string& out, const std::string& text, int line) {
  if (out.size() + text.size() > program_.limits.text_bytes) refuse(line, "the output grows too long");
  out += text;
}

Flow Evaluator::execute(const Body& body, const ScopePtr& scope, std::string& out) {
  for (const Statement& statement : body) {
    const Flow flow = execute(statement, scope, out);
    if (flow != Flow::Normal) return flow;
  }
  return Flow::Normal;
}

Flow Evaluator::execute(const Statement& statement, const ScopePtr& scope, std::string& out) {
  const Visit visit(*this, statement.line);
  try {
    switch (statement.kind) {
      case StatementKind::Data:
        append(out, statement.name, statement.line);
        return Flow::Normal;
      case StatementKind::Output:
        append(out, evaluate(*statement.value, scope).str(), statement.line);
        return Flow::Normal;
      case StatementKind::If:
        return execute(evaluate(*statement.value, scope).truthy() ? statement.body : statement.otherwise, scope, out);
      case StatementKind::For:
        return loop(statement, scope, out);
      case StatementKind::Set:
        set(statement, scope, evaluate(*statement.value, scope));
        return Flow::Normal;
      case StatementKind::SetBlock:
        set(statement, scope, filtered(*statement.value, scope, captured(statement.body, scope)));
        return Flow::Normal;
      case StatementKind::Macro:
        set_member(scope->variables, statement.name, make_macro(statement, scope));
        return Flow::Normal;
      case StatementKind::CallBlock:
        call_block(statement, scope, out);
        return Flow::Normal;
      case StatementKind::FilterBlock:
        append(out, filtered(*statement.value, scope, captured(statement.body, scope)).str(), statement.line);
        return Flow::Normal;
      case StatementKind::Generation:
        generation(statement, scope, out);
        return Flow::Normal;
      case StatementKind::Break:
        return Flow::Break;
      case StatementKind::Continue:
        return Flow::Continue;
    }
  } catch (const std::logic_error& misuse) {  // what values and built-ins throw
    refuse(statement.line, misuse.what());
  }
  return Flow::Normal;
}

namespace {

void unpack(const Statement& statement, const Value& item, Scope& scope) {
  if (statement.targets.size() == 1) return set_member(scope.variables, statement.targets[0], item);
  const List parts = items_of(item);
  if (parts.size() != statement.targets.size())
    throw std::invalid_argument("expected " + std::to_string(statement.targets.size()) + " values to unpack, got " +
                                std::to_string(parts.size()));
  for (std::size_t i = 0; i < parts.size(); ++i) set_member(scope.variables, statement.targets[i], parts[i]);
}

Value loop_variable(const List& items, std::size_t index) {
  const auto at = static_cast<std::int64_t>(index);
  const auto size = static_cast<std::int64_t>(items.size());
  return Dict{{"index", at + 1},
              {"index0", at},
              {"revindex", size - at},
              {"revindex0", size - at - 1},
              {"first", at == 0},
              {"last", at + 1 == size},
              {"length", size},
              {"previtem", index > 0 ? items[index - 1] : Value(Undefined{"loop.previtem"})},
              {"nextitem", index + 1 < items.size() ? items[index + 1] : Value(Undefined{"loop.nextitem"})},
              {"cycle", Function([at](const Arguments& arguments) -> Value {
                 if (arguments.positional.empty()) throw std::invalid_argument("loop.cycle() needs values");
                 return arguments.positional[static_cast<std::size_t>(at) % arguments.positional.size()];
               })}};
}

}  // namespace

Flow Evaluator::loop(const Statement& statement, const ScopePtr& scope, std::string& out) {
  List items = items_of(evaluate(*statement.value, scope));
  if (statement.condition != nullptr) {
    List kept;
    for (const Value& item : items) {
      const auto inner = std::make_shared<Scope>(Scope{scope, {}});
      unpack(statement, item, *inner);
      if (evaluate(*statement.condition, inner).truthy()) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return execute(statement.otherwise, scope, out);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Visit visit(*this, statement.line);  // a loop without a body takes its time, too
    const auto inner = std::make_shared<Scope>(Scope{scope, {}});
    inner->variables.emplace_back("loop", loop_variable(items, i));
    unpack(statement, items[i], *inner);
    if (execute(statement.body, inner, out) == Flow::Break) break;
  }
  return Flow::Normal;
}

void Evaluator::set(const Statement& statement, const ScopePtr& scope, const Value& value) {
  if (statement.attribute.empty()) return unpack(statement, value, *scope);
  const Value target = lookup(statement.name, scope);
  if (target.as_namespace() == nullptr)
    throw std::invalid_argument("cannot set an attribute of '" + statement.name + "', which is no namespace");
  if (value.holds_namespace()) throw std::invalid_argument("a namespace cannot hold a namespace");
  set_member(target.as_namespace()->members, statement.attribute, value);
}

std::string Evaluator::captured(const Body& body, const ScopePtr& scope) {
  std::string text;
  execute(body, std::make_shared<Scope>(Scope{scope, {}}), text);
  return text;
}

Value Evaluator::filtered(const Expression& filters, const ScopePtr& scope, std::string text) {
  const auto inner = std::make_shared<Scope>(Scope{scope, {}});
  inner->variables.emplace_back("", Value(std::move(text)));
  return evaluate(filters, inner);
}

// The scope is not kept alive by the macro, which it holds itself.
Value Evaluator::make_macro(const Statement& statement, const ScopePtr& scope) {
  return Function([this, &statement, weak = std::weak_ptr<Scope>(scope)](const Arguments& arguments) -> Value {
    const ScopePtr outer = weak.lock();
    return call_macro(statement, outer == nullptr ? globals_ : outer, arguments);
  });
}

std::string Evaluator::call_macro(const Statement& macro, const ScopePtr& scope, const Arguments& arguments) {
  const Visit visit(*this, macro.line);
  const std::string name = macro.name.empty() ? "caller" : macro.name;
  const auto inner = std::make_shared<Scope>(Scope{scope, {}});
  if (arguments.positional.size() > macro.parameters.size())
    throw std::invalid_argument(name + "() takes at most " + std::to_string(macro.parameters.size()) + " arguments");
  for (const auto& [given, value] : arguments.named) {
    bool known = given == "caller";
    for (const Parameter& parameter : macro.parameters) known = known || parameter.name == given;
    if (!known) throw std::invalid_argument(name + "() has no argument '" + given + "'");
    if (given == "caller") set_member(inner->variables, given, value);
  }
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    Value value = Undefined{parameter.name};
    if (const Value* given = arguments.find(i, parameter.name))
      value = *given;
    else if (parameter.fallback != nullptr)
      value = evaluate(*parameter.fallback, inner);
    set_member(inner->variables, parameter.name, value);
  }
  std::string text;
  execute(macro.body, inner, text);
  return text;
}

void Evaluator::call_block(const Statement& statement, const ScopePtr& scope, std::string& out) {
  const Dict extra = {{"caller", make_macro(statement, scope)}};
  append(out, call(*statement.value, scope, extra).str(), statement.line);
}

// Only what is written straight into the output has a place there.
void Evaluator::generation(const Statement& statement, const ScopePtr& scope, std::string& out) {
  const std::size_t begin = out.size();
  execute(statement.body, std::make_shared<Scope>(Scope{scope, {}}), out);
  if (&out == top_) generated_.push_back({begin, out.size()});
}

void Evaluator::define_functions(Dict& globals) const {
  globals.emplace_back("range", Function(make_range));
  globals.emplace_back("dict", Function([](const Arguments& arguments) -> Value { return arguments.named; }));
  globals.emplace_back("namespace", Function([](const Arguments& arguments) -> Value {
                         auto space = std::make_shared<Namespace>();
                         for (const Value& given : arguments.positional)
                           if (given.as_dict() != nullptr)
                             for (const auto& [name, value] : *given.as_dict()) set_member(space->members, name, value);
                         for (const auto& [name, value] : arguments.named) set_member(space->members, name, value);
                         for (const auto& [name, value] : space->members)
                           if (value.holds_namespace())
                             throw std::invalid_argument("a namespace cannot hold a namespace");
                         return space;
                       }));
  globals.emplace_back("raise_exception", Function([](const Arguments& arguments) -> Value {
                         throw std::invalid_argument("the template refuses the conversation: " +
                                                     required(arguments, 0, "message").str());
                       }));
  globals.emplace_back("strftime_now", Function([now = now_](const Arguments& arguments) -> Value {
                         return format_time(text_argument(arguments, 0, "format", ""), static_cast<std::int64_t>(now));
                       }));
}

}  // namespace sluice::jinja
