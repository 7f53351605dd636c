// Walks a program: statements write text, expressions give values. One evaluator per rendering; everything that a
// template can make grow is counted.
#pragma once
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/builtins.h"
#include "jinja/syntax.h"

namespace sluice::jinja {

/// Names and values; looked up outwards, set inside.
struct Scope {
  std::shared_ptr<Scope> outer;
  Dict variables;
};
using ScopePtr = std::shared_ptr<Scope>;

enum class Flow { Normal, Break, Continue };

class Evaluator {
 public:
  Evaluator(const Program& program, std::time_t now);

  /// Renders the whole program with these variables.
  Rendered run(Dict variables);

 private:
  // Statements (evaluate_statement.cpp).
  Flow execute(const Body& body, const ScopePtr& scope, std::string& out);
  Flow execute(const Statement& statement, const ScopePtr& scope, std::string& out);
  Flow loop(const Statement& statement, const ScopePtr& scope, std::string& out);
  void set(const Statement& statement, const ScopePtr& scope, const Value& value);
  std::string captured(const Body& body, const ScopePtr& scope);
  Value filtered(const Expression& filters, const ScopePtr& scope, std::string text);
  Value make_macro(const Statement& statement, const ScopePtr& scope);
  std::string call_macro(const Statement& macro, const ScopePtr& scope, const Arguments& arguments);
  void call_block(const Statement& statement, const ScopePtr& scope, std::string& out);
  void generation(const Statement& statement, const ScopePtr& scope, std::string& out);
  void append(std::string& out, const std::string& text, int line);

  // Expressions (evaluate_expression.cpp).
  Value evaluate(const Expression& node, const ScopePtr& scope);
  Value evaluate_node(const Expression& node, const ScopePtr& scope);
  Value attribute(const Expression& node, const ScopePtr& scope);
  Value item(const Expression& node, const ScopePtr& scope);
  Value slice(const Expression& node, const ScopePtr& scope);
  Value compare(const Expression& node, const ScopePtr& scope);
  Value binary(const std::string& mark, const Value& left, const Value& right) const;
  Value call(const Expression& node, const ScopePtr& scope, const Dict& extra);
  Value test(const Expression& node, const ScopePtr& scope);
  Arguments arguments_of(const Expression& node, const ScopePtr& scope);
  Value lookup(const std::string& name, const ScopePtr& scope) const;
  void define_functions(Dict& globals) const;

  /// Counts a node and its depth for as long as it lives.
  class Visit;

  [[noreturn]] void refuse(int line, const std::string& what) const { fail(program_.origin, line, what); }

  const Program& program_;
  const std::time_t now_;
  const Bounds bounds_;
  ScopePtr globals_;
  std::size_t steps_ = 0;
  int depth_ = 0;
  std::string* top_ = nullptr;  ///< the output itself, not a text that is captured
  std::vector<Span> generated_;
};

/// Bounds of recursion, over which one evaluation's frames stay far below a thread's stack.
class Evaluator::Visit {
 public:
  Visit(Evaluator& evaluator, int line) : evaluator_(evaluator) {
    if (++evaluator.steps_ > evaluator.program_.limits.steps) evaluator.refuse(line, "the template takes too long");
    if (evaluator.depth_ >= kDeepest) evaluator.refuse(line, "the template is nested too deeply");
    ++evaluator.depth_;
  }
  ~Visit() { --evaluator_.depth_; }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  static constexpr int kDeepest = 1000;
  Evaluator& evaluator_;
};

}  // namespace sluice::jinja
