// JSON as people write it by hand; JSON itself means what it always meant.
#include "format/hjson.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sluice::format {
namespace {

using Json = nlohmann::ordered_json;

std::string error_of(std::string_view text) {
  try {
    (void)parse_hjson_object(text, "x.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

TEST(Hjson, ReadsJsonAsJson) {
  const std::string text = R"({"a": {"b": [1, -2.5e-3, true, null, "x\"\u00e4\n"], "c": {}}, "d": [], "e": 5e8})";
  EXPECT_EQ(parse_hjson_object(text, "x"), Json::parse(text));
  EXPECT_EQ(parse_hjson_object(Json::parse(text).dump(2), "x"), Json::parse(text));
}

TEST(Hjson, TakesWhatPeopleWrite) {
  const Json expected = {{"stage", 3}, {"path", "/local_nvme # 1"}, {"list", {1, 2}}, {"inner", {{"on", true}}}};
  EXPECT_EQ(parse_hjson_object("{ stage: 3, // three\n 'path': \"/local_nvme # 1\", /* a\n b */ list: [1, 2,],\n"
                               "inner: {on: true,}, # end\n}\n",
                               "x"),
            expected);
  EXPECT_EQ(parse_hjson_object("# no braces, no commas\nstage: 3\npath: /local_nvme # 1\nlist: [\n1\n2 // two\n]\n"
                               "inner: {\n on: true\n}",
                               "x"),
            expected);
  EXPECT_EQ(parse_hjson_object("text: '''\n      one\n        two\n      '''\n", "x").at("text"), "one\n  two");
  EXPECT_EQ(parse_hjson_object("single: 'it\\'s \"so\"'", "x").at("single"), "it's \"so\"");
  EXPECT_EQ(parse_hjson_object("", "x"), Json::object());
  EXPECT_EQ(parse_hjson_object("a: 1e-5\nb: 01\nc: nullify", "x"), (Json{{"a", 1e-5}, {"b", "01"}, {"c", "nullify"}}));
}

TEST(Hjson, RefusesWhatIsBrokenAndNamesTheLine) {
  EXPECT_NE(error_of("{\n\"a\": 1,\n\"a\": 2}").find("each key once in line 3, got 'a' again"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": 1").find("'}'"), std::string::npos);
  EXPECT_NE(error_of("{\"a\" 1}").find("':'"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": \"x}").find("quotes"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": 1} 2").find("the end"), std::string::npos);
  EXPECT_NE(error_of("[1]").find("an object"), std::string::npos);
  EXPECT_NE(error_of("{a: }").find("a value"), std::string::npos);
  EXPECT_NE(error_of("{a: /* }").find("comment"), std::string::npos);
  EXPECT_NE(error_of(std::string("a: 1\0", 5)).find("NUL"), std::string::npos);
  EXPECT_NE(error_of("a: \"\xff\"").find("cannot parse"), std::string::npos);
  EXPECT_NE(error_of("a: \xff").find("UTF-8"), std::string::npos);
  EXPECT_NE(error_of("{a:" + std::string(100, '[')).find("64 levels"), std::string::npos);
}

}  // namespace
}  // namespace sluice::format
