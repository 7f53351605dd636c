// Statements: what stands in {% ... %} and what is between.
#include <array>

#include "jinja/syntax.h"

namespace sluice::jinja {
namespace {

class Parser {
 public:
  Parser(TokenStream& stream, Program& program) : stream_(stream), program_(program) {}

  // Up to {% WORD, one of `ends`, of which the word is taken; without `ends` up to the end of the source.
  Body body(std::initializer_list<std::string_view> ends, std::string* ended_by = nullptr) {
    const Nested nested(stream_);
    Body statements;
    while (stream_.now().kind != TokenKind::End) {
      const Token& token = stream_.take();
      if (token.kind == TokenKind::Data) {
        statements.push_back({.kind = StatementKind::Data, .line = token.line, .name = token.text});
      } else if (token.kind == TokenKind::OutputBegin) {
        statements.push_back({.kind = StatementKind::Output, .line = token.line, .value = parse_expression(stream_)});
        end_of(TokenKind::OutputEnd, "}}");
      } else {
        const std::string word = stream_.expect_name();
        for (const std::string_view end : ends) {
          if (word != end) continue;
          if (ended_by != nullptr) *ended_by = word;
          return statements;
        }
        statements.push_back(statement(word, token.line));
      }
    }
    if (ends.size() > 0) stream_.refuse("{% " + std::string(*(ends.end() - 1)) + " %}");
    return statements;
  }

 private:
  void end_of(TokenKind kind, const char* mark) {
    if (stream_.now().kind != kind) stream_.refuse(mark);
    stream_.take();
  }
  void end_of_block() { end_of(TokenKind::BlockEnd, "%}"); }

  // The rest of {% endWORD %}.
  Body closed_body(std::string_view end) {
    end_of_block();
    Body inner = body({end});
    end_of_block();
    return inner;
  }

  Statement statement(const std::string& word, int line) {
    if (word == "if") return if_block(line);
    if (word == "for") return for_block(line);
    if (word == "set") return set(line);
    if (word == "macro") return macro(line);
    if (word == "call") return call(line);
    if (word == "filter") return filter(line);
    if (word == "generation") {
      program_.marks_generation = true;
      return {.kind = StatementKind::Generation, .line = line, .body = closed_body("endgeneration")};
    }
    if (word == "break" || word == "continue") {
      if (loops_ == 0) fail(stream_.origin, line, word + " outside of a loop");
      end_of_block();
      return {.kind = word == "break" ? StatementKind::Break : StatementKind::Continue, .line = line};
    }
    fail(stream_.origin, line, "the statement '" + word + "' is not supported",
         "known are if, for, set, macro, call, filter, generation, break, continue, raw");
  }

  Statement if_block(int line) {
    const Nested nested(stream_);
    Statement result{.kind = StatementKind::If, .line = line};
    result.value = parse_expression(stream_, {.tuples = false});
    end_of_block();
    std::string end;
    result.body = body({"elif", "else", "endif"}, &end);
    if (end == "elif") {
      result.otherwise.push_back(if_block(stream_.now().line));
      return result;
    }
    if (end == "else") {
      end_of_block();
      result.otherwise = body({"endif"});
    }
    end_of_block();
    return result;
  }

  std::vector<std::string> names() {
    std::vector<std::string> result;
    const bool bracketed = stream_.take_operator("(");
    do {
      result.push_back(stream_.expect_name());
    } while (stream_.take_operator(","));
    if (bracketed) stream_.expect_operator(")");
    return result;
  }

  Statement for_block(int line) {
    Statement result{.kind = StatementKind::For, .line = line};
    result.targets = names();
    if (!stream_.take_name("in")) stream_.refuse("'in'");
    result.value = parse_expression(stream_, {.tuples = true, .conditions = false});
    if (stream_.take_name("if")) result.condition = parse_expression(stream_, {.tuples = false});
    if (stream_.now().is_name("recursive")) fail(stream_.origin, line, "recursive loops are not supported");
    end_of_block();
    std::string end;
    ++loops_;
    result.body = body({"else", "endfor"}, &end);
    --loops_;
    if (end == "else") {
      end_of_block();
      result.otherwise = body({"endfor"});
    }
    end_of_block();
    return result;
  }

  Statement set(int line) {
    Statement result{.kind = StatementKind::Set, .line = line};
    if (stream_.ahead().is_operator(".")) {
      result.name = stream_.expect_name();
      stream_.take();
      result.attribute = stream_.expect_name();
    } else {
      result.targets = names();
    }
    if (stream_.take_operator("=")) {
      result.value = parse_expression(stream_);
      end_of_block();
      return result;
    }
    result.kind = StatementKind::SetBlock;
    result.value = parse_filters(stream_, make_expression(ExpressionKind::Name, line));
    result.body = closed_body("endset");
    return result;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> result;
    while (!stream_.take_operator(")")) {
      Parameter parameter{stream_.expect_name(), nullptr};
      if (stream_.take_operator("=")) parameter.fallback = parse_expression(stream_, {.tuples = false});
      result.push_back(std::move(parameter));
      if (!stream_.take_operator(",") && !stream_.now().is_operator(")")) stream_.refuse("',' or ')'");
    }
    return result;
  }

  // A loop around a macro is none inside of it.
  Body macro_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body inner = closed_body(end);
    loops_ = loops;
    return inner;
  }

  Statement macro(int line) {
    Statement result{.kind = StatementKind::Macro, .line = line, .name = stream_.expect_name()};
    stream_.expect_operator("(");
    result.parameters = parameters();
    result.body = macro_body("endmacro");
    return result;
  }

  Statement call(int line) {
    Statement result{.kind = StatementKind::CallBlock, .line = line};
    if (stream_.take_operator("(")) result.parameters = parameters();
    result.value = parse_expression(stream_, {.tuples = false});
    if (result.value->kind != ExpressionKind::Call) stream_.refuse("a call");
    result.body = macro_body("endcall");
    return result;
  }

  Statement filter(int line) {
    Statement result{.kind = StatementKind::FilterBlock, .line = line};
    auto first = make_expression(ExpressionKind::Filter, line, stream_.expect_name());
    adopt(stream_, *first, make_expression(ExpressionKind::Name, line));
    result.value = parse_filters(stream_, std::move(first));
    result.body = closed_body("endfilter");
    return result;
  }

  TokenStream& stream_;
  Program& program_;
  int loops_ = 0;
};

}  // namespace

bool TokenStream::take_operator(std::string_view text) {
  if (!now().is_operator(text)) return false;
  take();
  return true;
}

bool TokenStream::take_name(std::string_view text) {
  if (!now().is_name(text)) return false;
  take();
  return true;
}

void TokenStream::expect_operator(std::string_view text) {
  if (!take_operator(text)) refuse("'" + std::string(text) + "'");
}

std::string TokenStream::expect_name() {
  if (now().kind != TokenKind::Name) refuse("a name");
  return take().text;
}

void TokenStream::refuse(const std::string& expected) const {
  const Token& token = now();
  std::string got = token.text.empty() ? "the end of the tag" : "'" + token.text.substr(0, 40) + "'";
  if (token.kind == TokenKind::End) got = "the end of the template";
  fail(origin, token.line, "the template is malformed", "expected " + expected + ", got " + got);
}

Nested::Nested(TokenStream& stream) : stream_(stream) {
  if (++stream_.depth <= stream_.max_depth) return;
  --stream_.depth;
  fail(stream_.origin, stream_.now().line, "the template is nested too deeply",
       "expected at most " + std::to_string(stream_.max_depth) + " levels");
}

Program parse_program(std::string_view source, std::string origin, const Limits& limits) {
  Program program{std::move(origin), limits, {}, false};
  if (source.size() > limits.source_bytes)
    fail(program.origin, 1, "the template is too long",
         "expected at most " + std::to_string(limits.source_bytes) + " bytes");
  const std::vector<Token> tokens = tokenize(source, program.origin);
  TokenStream stream{tokens, program.origin, limits.nesting};
  program.body = Parser(stream, program).body({});
  return program;
}

}  // namespace sluice::jinja
