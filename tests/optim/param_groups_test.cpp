#include "optim/param_groups.h"

#include <gtest/gtest.h>

namespace sluice::optim {
namespace {

const std::vector<ParamGroup> kGroups = {
    {"model.embed_tokens.weight", 0.1, {}}, {"*norm*", 1, 0.0}, {"*.layers.[01].*", 0.5, 0.2}};

UpdateArgs in_group(std::string_view name) {
  return args_in_group(kGroups, name, {.lr = 1, .weight_decay = 0.01, .step = 7});
}

TEST(ParamGroups, TheFirstThatMatchesCounts) {
  EXPECT_EQ(in_group("model.embed_tokens.weight").lr, 0.1);
  EXPECT_EQ(in_group("model.layers.0.input_layernorm.weight").lr, 1);
  EXPECT_EQ(in_group("model.layers.1.mlp.up_proj.weight").lr, 0.5);
  EXPECT_EQ(in_group("model.layers.12.mlp.up_proj.weight").lr, 1);
}

TEST(ParamGroups, ChangeOnlyWhatTheyName) {
  EXPECT_EQ(in_group("model.embed_tokens.weight").weight_decay, 0.01);
  EXPECT_EQ(in_group("model.norm.weight").weight_decay, 0);
  EXPECT_EQ(in_group("model.layers.1.mlp.up_proj.weight").weight_decay, 0.2);
  EXPECT_EQ(in_group("model.norm.weight").step, 7);
  EXPECT_EQ(args_in_group({}, "x", {.lr = 3}).lr, 3);
}

TEST(ParamGroups, RefuseAPatternThatTakesNothing) {
  const std::vector<std::string> names = {"model.embed_tokens.weight", "model.norm.weight",
                                          "model.layers.0.mlp.up_proj.weight"};
  EXPECT_NO_THROW(check_groups(kGroups, names));
  EXPECT_THROW(check_groups(std::vector<ParamGroup>{{"lm_head.*", 1, {}}}, names), ConfigError);
  EXPECT_THROW(check_groups(std::vector<ParamGroup>{{"*", 1, {}}, {"*norm*", 1, {}}}, names), ConfigError);
}

}  // namespace
}  // namespace sluice::optim
