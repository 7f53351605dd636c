// Parity with transformers' environment on published templates and on snippets (tests/data/jinja/make_golden.py), and
// what templates must not be able to do.
#include "jinja/template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace sluice::jinja {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path data_file(const std::string& name) {
  return std::filesystem::path(SLUICE_TEST_DATA) / "jinja" / name;
}

const Json& variables() {
  static const Json json = Json::parse(read_text(data_file("variables.json")));
  return json;
}

std::vector<Json> golden(const std::string& name) {
  std::ifstream in(data_file(name));
  std::vector<Json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(Json::parse(line));
  return rows;
}

std::string error_of(const std::string& source, const Json& given = Json::object(), const Limits& limits = {}) {
  try {
    (void)Template(source, "t.jinja", limits).render(given, 0);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

void expect_golden(const std::string& source, const Json& given, const Json& row) {
  const std::string what = row.dump();
  if (row.at("expected").is_null()) {
    EXPECT_NE(error_of(source, given), "") << what;
    return;
  }
  const Rendered rendered = Template(source, "t.jinja").render(given, variables().at("now").get<std::time_t>());
  EXPECT_EQ(rendered.text, row.at("expected").get<std::string>()) << what;
  const Json spans = row.value("spans", Json::array());
  ASSERT_EQ(rendered.generated.size(), spans.size()) << what;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(rendered.generated[i].begin, spans[i][0].get<std::size_t>()) << what;
    EXPECT_EQ(rendered.generated[i].end, spans[i][1].get<std::size_t>()) << what;
  }
}

TEST(Template, RendersPublishedChatTemplatesByteForByte) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  const auto rows = golden("chat.golden.jsonl");
  EXPECT_GT(rows.size(), 400U);
  for (const Json& row : rows) {
    Json given = variables().at("special");
    given["messages"] = variables().at("conversations").at(row.at("conversation").get<std::string>());
    given["tools"] = row.at("tools").get<bool>() ? variables().at("tools") : Json(nullptr);
    given["documents"] = nullptr;
    given["add_generation_prompt"] = row.at("generate");
    expect_golden(read_text(data_file("templates/" + row.at("template").get<std::string>())), given, row);
  }
}

TEST(Template, UnderstandsTheLanguageAsJinjaDoes) {
  const auto rows = golden("snippets.golden.jsonl");
  EXPECT_GT(rows.size(), 90U);
  for (const Json& row : rows) expect_golden(row.at("template").get<std::string>(), variables().at("snippets"), row);
}

TEST(Template, ErrorsNameTheLine) {
  EXPECT_NE(error_of("a\n\n{{ x.y }}").find("[data.chat_template] t.jinja line 3: 'x' is undefined"),
            std::string::npos);
  EXPECT_NE(error_of("\n{% if x %}").find("endif"), std::string::npos);
  EXPECT_NE(error_of("{% include 'a' %}").find("'include' is not supported"), std::string::npos);
  EXPECT_NE(error_of("{{ raise_exception('no system role') }}").find("no system role"), std::string::npos);
}

TEST(Template, EndsWhatWouldNotEnd) {
  const Limits small{.steps = 100'000, .text_bytes = 1 << 16};
  for (const char* endless : {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
                              "{% for a in range(100000) %}{{ range(100000) | length }}{% endfor %}"})
    EXPECT_NE(error_of(endless, {}, small).find("takes too long"), std::string::npos) << endless;
  EXPECT_NE(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("nested too deeply"), std::string::npos);
  EXPECT_NE(error_of("{{ 'abc' * 1000000000000 }}").find("too long"), std::string::npos);
  EXPECT_NE(error_of("{% for i in range(99999) %}0123456789{% endfor %}", {}, small).find("too long"),
            std::string::npos);
  EXPECT_NE(error_of("{% set n = namespace(l=[1]) %}{% for i in range(40) %}{% set n.l = n.l + n.l %}{% endfor %}")
                .find("too long"),
            std::string::npos);
  EXPECT_NE(error_of("{% set n = namespace(l=[1]) %}{% for i in range(999) %}{% set n.l = [n.l] %}{% endfor %}")
                .find("nested too deeply"),
            std::string::npos);
  EXPECT_NE(error_of("{% set n = namespace() %}{% set n.self = [n] %}").find("namespace"), std::string::npos);
  EXPECT_NE(error_of("{{ 2 ** 64 }}").find("too large"), std::string::npos);
}

TEST(Template, RefusesSourcesThatAreTooDeepToWalk) {
  const auto repeated = [](const std::string& text, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += text;
    return all;
  };
  constexpr int kMany = 20'000;
  for (const std::string& source :
       {"{{ " + repeated("(", kMany), "{{ " + repeated("[", kMany), "{{ " + repeated("not ", kMany) + "1 }}",
        "{{ 1" + repeated(" + 1", kMany) + " }}", "{{ a" + repeated(".b", kMany) + " }}",
        "{{ a" + repeated(" | e", kMany) + " }}", "{{ a" + repeated(" or 1", kMany) + " }}",
        "{{ 1" + repeated(" if 1", kMany) + " }}", repeated("{% if 1 %}", kMany),
        "{% if 0 %}" + repeated("{% elif 0 %}", kMany) + "{% endif %}", "{{ " + repeated("-", kMany) + "1 }}"})
    EXPECT_NE(error_of(source), "") << source.substr(0, 40);
}

}  // namespace
}  // namespace sluice::jinja
