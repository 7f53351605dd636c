// A template as a tree, and how it is made from tokens.
#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/lexer.h"
#include "jinja/template.h"
#include "jinja/value.h"

namespace sluice::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  Constant,   ///< constant
  Name,       ///< name
  MakeList,   ///< children
  MakeDict,   ///< children: key, value, key, value ...
  Attribute,  ///< children[0].name
  Item,       ///< children[0][children[1]]
  Slice,      ///< children[0][children[1]:children[2]:children[3]], the last three may be null
  Call,       ///< children[0](children[1...], named)
  Filter,     ///< children[0] | name(children[1...], named)
  Test,       ///< children[0] is name(children[1...], named)
  Not,
  Negative,
  Positive,
  And,
  Or,
  Compare,    ///< children[0] operators[0] children[1] operators[1] ...
  Binary,     ///< children[0] name children[1]
  Condition,  ///< children[0] if children[1] else children[2], the last may be null
};

struct Expression {
  ExpressionKind kind = ExpressionKind::Constant;
  int line = 1;
  int depth = 1;  ///< of the tree below, this node included
  std::string name = {};
  Value constant = {};
  std::vector<ExpressionPtr> children = {};
  std::vector<std::pair<std::string, ExpressionPtr>> named = {};
  std::vector<std::string> operators = {};
};

struct Statement;
using Body = std::vector<Statement>;

enum class StatementKind {
  Data,         ///< name: the text
  Output,       ///< value
  If,           ///< value, body, otherwise
  For,          ///< targets, value, condition, body, otherwise
  Set,          ///< targets (or name.attribute), value
  SetBlock,     ///< targets, filters around the body
  Macro,        ///< name, parameters, body
  CallBlock,    ///< value (a call), parameters, body
  FilterBlock,  ///< filters around the body
  Generation,   ///< body
  Break,
  Continue,
};

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  ///< null: none
};

struct Statement {
  StatementKind kind = StatementKind::Data;
  int line = 1;
  std::string name = {};
  std::string attribute = {};
  std::vector<std::string> targets = {};
  ExpressionPtr value = {};  ///< of filters: a chain of filters whose innermost child is the name ""
  ExpressionPtr condition = {};
  std::vector<Parameter> parameters = {};
  Body body = {};
  Body otherwise = {};
};

struct Program {
  std::string origin;
  Limits limits;
  Body body;
  bool marks_generation = false;
};

/// Tokens with one place to read from, and the depth of what is being parsed.
struct TokenStream {
  const std::vector<Token>& tokens;
  const std::string& origin;
  int max_depth = 100;
  std::size_t at = 0;
  int depth = 0;

  [[nodiscard]] const Token& now() const { return tokens[at]; }
  [[nodiscard]] const Token& ahead() const { return tokens[std::min(at + 1, tokens.size() - 1)]; }
  const Token& take() { return tokens[at + 1 < tokens.size() ? at++ : at]; }
  bool take_operator(std::string_view text);
  bool take_name(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name();
  [[noreturn]] void refuse(const std::string& expected) const;
};

/// Counts one level of nesting for as long as it lives; throws FormatError beyond the limit.
class Nested {
 public:
  explicit Nested(TokenStream& stream);
  ~Nested() { --stream_.depth; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  TokenStream& stream_;
};

/// `a, b` is a list when `tuples`; otherwise one expression. Without `conditions`, `if` ends it.
struct ExpressionOptions {
  bool tuples = true;
  bool conditions = true;
};
ExpressionPtr parse_expression(TokenStream& stream, ExpressionOptions options = {});
/// Filters behind `|` around `inner`.
ExpressionPtr parse_filters(TokenStream& stream, ExpressionPtr inner);
ExpressionPtr make_expression(ExpressionKind kind, int line, std::string name = {});
/// Appends a child (null is allowed). Throws FormatError when the tree becomes too deep to walk.
void adopt(const TokenStream& stream, Expression& node, ExpressionPtr child);

Program parse_program(std::string_view source, std::string origin, const Limits& limits);

}  // namespace sluice::jinja
