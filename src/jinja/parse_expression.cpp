// Expressions by jinja2's precedence: condition, or, and, not, comparison, + -, ~, * / // %, **, sign, then what
// stands behind a value (attributes, calls), filters and tests.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "jinja/syntax.h"

namespace sluice::jinja {
namespace {

ExpressionPtr parse_condition(TokenStream& stream, bool conditions);
ExpressionPtr parse_unary(TokenStream& stream, bool with_filters);

ExpressionPtr binary(const TokenStream& stream, int line, const std::string& name, ExpressionPtr left,
                     ExpressionPtr right) {
  auto node = make_expression(ExpressionKind::Binary, line, name);
  adopt(stream, *node, std::move(left));
  adopt(stream, *node, std::move(right));
  return node;
}

using Parse = ExpressionPtr (*)(TokenStream&);

// left-associative operators of one level
ExpressionPtr parse_level(TokenStream& stream, std::initializer_list<std::string_view> operators, Parse below) {
  ExpressionPtr left = below(stream);
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view mark : operators) {
      const int line = stream.now().line;
      if (!stream.take_operator(mark)) continue;
      left = binary(stream, line, std::string(mark), std::move(left), below(stream));
      found = true;
      break;
    }
  }
  return left;
}

ExpressionPtr parse_power(TokenStream& stream) {
  return parse_level(stream, {"**"}, [](TokenStream& inner) { return parse_unary(inner, true); });
}
ExpressionPtr parse_product(TokenStream& stream) { return parse_level(stream, {"*", "/", "//", "%"}, parse_power); }
ExpressionPtr parse_concat(TokenStream& stream) { return parse_level(stream, {"~"}, parse_product); }
ExpressionPtr parse_sum(TokenStream& stream) { return parse_level(stream, {"+", "-"}, parse_concat); }

bool take_comparison(TokenStream& stream, std::string& mark) {
  for (const char* text : {"==", "!=", "<", "<=", ">", ">="}) {
    if (!stream.take_operator(text)) continue;
    mark = text;
    return true;
  }
  if (stream.take_name("in")) {
    mark = "in";
    return true;
  }
  if (!stream.now().is_name("not") || !stream.ahead().is_name("in")) return false;
  stream.take();
  stream.take();
  mark = "not in";
  return true;
}

ExpressionPtr parse_comparison(TokenStream& stream) {
  const int line = stream.now().line;
  ExpressionPtr first = parse_sum(stream);
  std::string mark;
  if (!take_comparison(stream, mark)) return first;
  auto node = make_expression(ExpressionKind::Compare, line);
  adopt(stream, *node, std::move(first));
  do {
    node->operators.push_back(mark);
    adopt(stream, *node, parse_sum(stream));
  } while (take_comparison(stream, mark));
  return node;
}

ExpressionPtr parse_not(TokenStream& stream) {
  const Nested nested(stream);
  const int line = stream.now().line;
  if (!stream.now().is_name("not")) return parse_comparison(stream);
  stream.take();
  auto node = make_expression(ExpressionKind::Not, line);
  adopt(stream, *node, parse_not(stream));
  return node;
}

ExpressionPtr parse_logic(TokenStream& stream, const char* word, ExpressionKind kind, Parse below) {
  ExpressionPtr left = below(stream);
  while (stream.now().is_name(word)) {
    auto node = make_expression(kind, stream.take().line);
    adopt(stream, *node, std::move(left));
    adopt(stream, *node, below(stream));
    left = std::move(node);
  }
  return left;
}

ExpressionPtr parse_and(TokenStream& stream) { return parse_logic(stream, "and", ExpressionKind::And, parse_not); }
ExpressionPtr parse_or(TokenStream& stream) { return parse_logic(stream, "or", ExpressionKind::Or, parse_and); }

ExpressionPtr parse_condition(TokenStream& stream, bool conditions) {
  const Nested nested(stream);
  ExpressionPtr first = parse_or(stream);
  while (conditions && stream.now().is_name("if")) {
    auto node = make_expression(ExpressionKind::Condition, stream.take().line);
    adopt(stream, *node, std::move(first));
    adopt(stream, *node, parse_or(stream));
    adopt(stream, *node, stream.take_name("else") ? parse_condition(stream, true) : nullptr);
    first = std::move(node);
  }
  return first;
}

// Arguments up to the closing bracket, which is taken.
void parse_arguments(TokenStream& stream, Expression& call) {
  while (!stream.take_operator(")")) {
    if (stream.now().kind == TokenKind::Name && stream.ahead().is_operator("=")) {
      std::string name = stream.expect_name();
      stream.take();
      ExpressionPtr value = parse_condition(stream, true);
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty()) stream.refuse("no place behind a named argument");
      adopt(stream, call, parse_condition(stream, true));
    }
    if (!stream.take_operator(",") && !stream.now().is_operator(")")) stream.refuse("',' or ')'");
  }
}

ExpressionPtr parse_subscript(TokenStream& stream, ExpressionPtr inner, int line) {
  ExpressionPtr parts[3];
  int count = 0;
  bool is_slice = false;
  if (!stream.now().is_operator(":")) parts[0] = parse_expression(stream);
  while (count < 2 && stream.take_operator(":")) {
    is_slice = true;
    ++count;
    if (!stream.now().is_operator(":") && !stream.now().is_operator("]")) parts[count] = parse_condition(stream, true);
  }
  stream.expect_operator("]");
  auto node = make_expression(is_slice ? ExpressionKind::Slice : ExpressionKind::Item, line);
  adopt(stream, *node, std::move(inner));
  for (int i = 0; i < (is_slice ? 3 : 1); ++i) adopt(stream, *node, std::move(parts[i]));
  return node;
}

ExpressionPtr parse_call(TokenStream& stream, ExpressionPtr inner, int line) {
  auto node = make_expression(ExpressionKind::Call, line);
  adopt(stream, *node, std::move(inner));
  parse_arguments(stream, *node);
  return node;
}

// Attributes, subscripts and calls behind a value.
ExpressionPtr parse_postfix(TokenStream& stream, ExpressionPtr inner) {
  while (true) {
    const int line = stream.now().line;
    if (stream.take_operator(".")) {
      if (stream.now().kind == TokenKind::Integer) {
        auto index = make_expression(ExpressionKind::Constant, line);
        index->constant = static_cast<std::int64_t>(std::strtol(stream.take().text.c_str(), nullptr, 10));
        auto node = make_expression(ExpressionKind::Item, line);
        adopt(stream, *node, std::move(inner));
        adopt(stream, *node, std::move(index));
        inner = std::move(node);
      } else {
        auto node = make_expression(ExpressionKind::Attribute, line, stream.expect_name());
        adopt(stream, *node, std::move(inner));
        inner = std::move(node);
      }
    } else if (stream.take_operator("[")) {
      inner = parse_subscript(stream, std::move(inner), line);
    } else if (stream.take_operator("(")) {
      inner = parse_call(stream, std::move(inner), line);
    } else {
      return inner;
    }
  }
}

ExpressionPtr constant(int line, Value value) {
  auto node = make_expression(ExpressionKind::Constant, line);
  node->constant = std::move(value);
  return node;
}

ExpressionPtr parse_number(TokenStream& stream) {
  const Token& token = stream.take();
  if (token.kind == TokenKind::Float) return constant(token.line, std::strtod(token.text.c_str(), nullptr));
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
  if (error != std::errc()) fail(stream.origin, token.line, "the number " + token.text + " is too large");
  return constant(token.line, value);
}

ExpressionPtr parse_list(TokenStream& stream) {
  auto node = make_expression(ExpressionKind::MakeList, stream.take().line);
  while (!stream.take_operator("]")) {
    adopt(stream, *node, parse_condition(stream, true));
    if (!stream.take_operator(",") && !stream.now().is_operator("]")) stream.refuse("',' or ']'");
  }
  return node;
}

ExpressionPtr parse_dict(TokenStream& stream) {
  auto node = make_expression(ExpressionKind::MakeDict, stream.take().line);
  while (!stream.take_operator("}")) {
    adopt(stream, *node, parse_condition(stream, true));
    stream.expect_operator(":");
    adopt(stream, *node, parse_condition(stream, true));
    if (!stream.take_operator(",") && !stream.now().is_operator("}")) stream.refuse("',' or '}'");
  }
  return node;
}

ExpressionPtr parse_name(TokenStream& stream) {
  const Token& token = stream.take();
  if (token.text == "true" || token.text == "True") return constant(token.line, true);
  if (token.text == "false" || token.text == "False") return constant(token.line, false);
  if (token.text == "none" || token.text == "None") return constant(token.line, Value());
  return make_expression(ExpressionKind::Name, token.line, token.text);
}

ExpressionPtr parse_primary(TokenStream& stream) {
  const Token& token = stream.now();
  switch (token.kind) {
    case TokenKind::Name:
      return parse_name(stream);
    case TokenKind::Integer:
    case TokenKind::Float:
      return parse_number(stream);
    case TokenKind::Text: {
      std::string text;
      while (stream.now().kind == TokenKind::Text) text += stream.take().text;
      return constant(token.line, text);
    }
    default:
      break;
  }
  if (token.is_operator("[")) return parse_list(stream);
  if (token.is_operator("{")) return parse_dict(stream);
  if (!stream.take_operator("(")) stream.refuse("a value");
  if (stream.take_operator(")")) return make_expression(ExpressionKind::MakeList, token.line);
  ExpressionPtr inner = parse_expression(stream);
  stream.expect_operator(")");
  return inner;
}

bool starts_argument(const Token& token) {
  switch (token.kind) {
    case TokenKind::Name:
      return token.text != "else" && token.text != "or" && token.text != "and" && token.text != "is" &&
             token.text != "if" && token.text != "not" && token.text != "in";
    case TokenKind::Integer:
    case TokenKind::Float:
    case TokenKind::Text:
      return true;
    default:
      return token.is_operator("[") || token.is_operator("{");
  }
}

ExpressionPtr parse_test(TokenStream& stream, ExpressionPtr inner, int line) {
  const bool negated = stream.take_name("not");
  auto node = make_expression(ExpressionKind::Test, line, stream.expect_name());
  adopt(stream, *node, std::move(inner));
  if (stream.take_operator("(")) {
    parse_arguments(stream, *node);
  } else if (starts_argument(stream.now())) {
    adopt(stream, *node, parse_postfix(stream, parse_primary(stream)));
  }
  if (!negated) return node;
  auto opposite = make_expression(ExpressionKind::Not, line);
  adopt(stream, *opposite, std::move(node));
  return opposite;
}

ExpressionPtr parse_behind(TokenStream& stream, ExpressionPtr inner) {
  while (true) {
    const int line = stream.now().line;
    if (stream.now().is_operator("|")) {
      inner = parse_filters(stream, std::move(inner));
    } else if (stream.take_name("is")) {
      inner = parse_test(stream, std::move(inner), line);
    } else if (stream.take_operator("(")) {
      inner = parse_call(stream, std::move(inner), line);
    } else {
      return inner;
    }
  }
}

ExpressionPtr parse_unary(TokenStream& stream, bool with_filters) {
  const Nested nested(stream);
  const int line = stream.now().line;
  ExpressionPtr node;
  if (stream.take_operator("-") || stream.now().is_operator("+")) {
    const bool negative = !stream.take_operator("+");
    node = make_expression(negative ? ExpressionKind::Negative : ExpressionKind::Positive, line);
    adopt(stream, *node, parse_unary(stream, false));
  } else {
    node = parse_primary(stream);
  }
  node = parse_postfix(stream, std::move(node));
  return with_filters ? parse_behind(stream, std::move(node)) : std::move(node);
}

}  // namespace

ExpressionPtr make_expression(ExpressionKind kind, int line, std::string name) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  node->name = std::move(name);
  return node;
}

void adopt(const TokenStream& stream, Expression& node, ExpressionPtr child) {
  constexpr int kDeepest = 400;  // a tree is walked and freed by recursion
  if (child != nullptr) node.depth = std::max(node.depth, child->depth + 1);
  if (node.depth > kDeepest) fail(stream.origin, node.line, "an expression is too long");
  node.children.push_back(std::move(child));
}

ExpressionPtr parse_filters(TokenStream& stream, ExpressionPtr inner) {
  while (stream.take_operator("|")) {
    auto node = make_expression(ExpressionKind::Filter, stream.now().line, stream.expect_name());
    adopt(stream, *node, std::move(inner));
    if (stream.take_operator("(")) parse_arguments(stream, *node);
    inner = std::move(node);
  }
  return inner;
}

ExpressionPtr parse_expression(TokenStream& stream, ExpressionOptions options) {
  const int line = stream.now().line;
  ExpressionPtr first = parse_condition(stream, options.conditions);
  if (!options.tuples || !stream.now().is_operator(",")) return first;
  auto list = make_expression(ExpressionKind::MakeList, line);
  adopt(stream, *list, std::move(first));
  while (stream.take_operator(",")) {
    const Token& next = stream.now();
    if (next.kind == TokenKind::BlockEnd || next.kind == TokenKind::OutputEnd || next.is_operator(")")) break;
    adopt(stream, *list, parse_condition(stream, options.conditions));
  }
  return list;
}

}  // namespace sluice::jinja
