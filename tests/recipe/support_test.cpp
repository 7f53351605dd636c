// Everything the contract spells and this version lacks is refused by name, with a way out.
#include "recipe/support.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "recipe/device.h"
#include "recipe/machine_file.h"

namespace sluice::recipe {

void PrintTo(const NamedValue& shown, std::ostream* out) { *out << shown.name << " " << shown.value; }

namespace {

std::string refusal(const std::vector<NamedValue>& flags) {
  const Settings settings = read_settings(flags);
  try {
    check_supported(settings);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Support, AcceptsTheDefaultsAndWhatIsThere) {
  EXPECT_EQ(refusal({}), "");
  for (const auto& row : optim::rule_catalog()) {
    const std::string rule(row.name);
    EXPECT_EQ(refusal({{"optimizer", rule}, {"nproc", "2"}, {"zero-stage", "3"}, {"reduce-order", "fixed"}}), "")
        << rule;
    EXPECT_EQ(refusal({{"optimizer", rule}, {"nproc", "2"}, {"zero-stage", "0"}}), "") << rule;
  }
  EXPECT_EQ(refusal({{"device", "cpu"}, {"nproc", "1"}, {"zero-stage", "1"}, {"weights-dtype", "float32"}}), "");
  EXPECT_EQ(refusal({{"update", "next-forward"}, {"activations", "recompute"}, {"clip-mode", "global"}}), "");
  EXPECT_EQ(refusal({{"update", "backward"}, {"max-grad-norm", "0"}}), "");
  EXPECT_EQ(refusal({{"optimizer", "sgd"}, {"momentum", "0.9"}, {"optimizer-option", "nesterov=true"}}), "");
}

TEST(Support, GroupsOfRanksMustDivideThem) {
  EXPECT_EQ(refusal({{"nproc", "8"}, {"zero-shard-size", "4"}, {"reduce-dtype", "bf16"}}), "");
  EXPECT_EQ(sharding(read_settings(std::vector<NamedValue>{{"nproc", "8"}, {"zero-shard-size", "4"}})),
            (plan::Sharding{.num_ranks = 8, .stage = 1, .group_size = 4}));
  const std::string message = refusal({{"nproc", "8"}, {"zero-shard-size", "3"}});
  EXPECT_NE(message.find("expected a divisor of 8, got 3"), std::string::npos) << message;
  EXPECT_EQ(refusal({{"nproc", "8"}, {"zero-shard-size", "4"}, {"optimizer", "lamb"}}), "");
  for (const NamedValue& other : {NamedValue{"zero-shard-size", "4"}, NamedValue{"reduce-dtype", "bf16"}})
    EXPECT_NE(refusal({{"nproc", "8"}, {"reduce-order", "fixed"}, other}).find("--reduce-order fixed with"),
              std::string::npos);
}

TEST(Support, CompressesOneWholeGradientAStepAlone) {
  const auto compressed = [](std::vector<NamedValue> more) {
    more.emplace_back(NamedValue{"gradient-compression", "1bit"});
    return refusal(more);
  };
  EXPECT_EQ(compressed({}), "");
  for (const char* stage : {"0", "1", "2", "3"})
    EXPECT_EQ(compressed({{"nproc", "4"}, {"zero-stage", stage}, {"compression-warmup-steps", "100"}}), "");
  EXPECT_EQ(compressed({{"nproc", "4"}, {"optimizer", "lamb"}, {"update", "sweep"}, {"loss-scale", "128"}}), "");
  for (const NamedValue& other :
       {NamedValue{"zero-shard-size", "2"}, NamedValue{"reduce-dtype", "bf16"}, NamedValue{"reduce-order", "fixed"},
        NamedValue{"clip-mode", "two-pass"}, NamedValue{"loss-scale", "dynamic"}}) {
    const std::string message = compressed({{"nproc", "4"}, other});
    EXPECT_NE(message.find("--gradient-compression with --" + other.name), std::string::npos) << message;
    EXPECT_NE(message.find("; use "), std::string::npos) << message;
  }
  const auto sent = [](const std::vector<NamedValue>& flags) { return sent_gradients(read_settings(flags)); };
  EXPECT_EQ(sent({{"gradient-compression", "1bit"}}), DType::OneBit);
  EXPECT_EQ(sent({{"reduce-dtype", "bf16"}}), DType::Bf16);
  EXPECT_EQ(sent({}), DType::Fp32);
}

class RefusedOption : public testing::TestWithParam<NamedValue> {};

TEST_P(RefusedOption, IsNamedWithAWayOut) {
  const std::string message = refusal({GetParam()});
  EXPECT_NE(message.find("is not available in this version"), std::string::npos) << message;
  EXPECT_NE(message.find(GetParam().value == "true" ? GetParam().name : GetParam().value), std::string::npos)
      << message;
  EXPECT_NE(message.find("; use "), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(Contract, RefusedOption,
                         testing::Values(NamedValue{"optimizer", "galore"}, NamedValue{"optimizer", "soap"},
                                         NamedValue{"optimizer", "adamw-mini"}, NamedValue{"moments-dtype", "fp16"},
                                         NamedValue{"stochastic-rounding", "true"},
                                         NamedValue{"lr-schedule", "reduce_lr_on_plateau"},
                                         NamedValue{"lora-dropout", "0.1"}),
                         [](const auto& parameter) {
                           std::string name = parameter.param.name + "_" + parameter.param.value;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(Support, TakesNf4ForTheFrozenBaseOfAnAdapterAlone) {
  const auto nf4 = [](std::vector<NamedValue> more) {
    more.emplace_back(NamedValue{"base-dtype", "nf4"});
    return refusal(more);
  };
  EXPECT_EQ(refusal({{"adapter", "qlora"}}), "");
  EXPECT_EQ(nf4({{"adapter", "rslora"}}), "");
  EXPECT_NE(nf4({}).find("without an adapter"), std::string::npos);
  EXPECT_NE(nf4({{"adapter", "lora"}, {"base-optimizer", "lomo"}}).find("frozen"), std::string::npos);
  EXPECT_NE(nf4({{"adapter", "dora"}}).find("not available"), std::string::npos);
  EXPECT_NE(nf4({{"adapter", "lora"}, {"nproc", "2"}, {"zero-stage", "3"}}).find("--zero-stage 0 to 2"),
            std::string::npos);
  const Settings qlora = read_settings(std::vector<NamedValue>{{"adapter", "qlora"}});
  EXPECT_EQ(qlora.adapter, "lora");
  EXPECT_EQ(qlora.base_dtype, BaseFormat::Nf4);
  EXPECT_EQ(read_settings(std::vector<NamedValue>{{"load_in_4bit", "true"}}).base_dtype, BaseFormat::Nf4);
}

TEST(Support, MultipliesNumbersOf32Or16Bits) {
  EXPECT_EQ(compute_format(read_settings({})), DType::Fp32);
  EXPECT_EQ(compute_format(read_settings(std::vector<NamedValue>{{"device", "cuda:1"}})), DType::Bf16);
  EXPECT_EQ(compute_format(read_settings(std::vector<NamedValue>{{"compute-dtype", "bfloat16"}})), DType::Bf16);
  EXPECT_EQ(refusal({{"compute-dtype", "bf16"}}), "");
  EXPECT_EQ(refusal({{"compute-dtype", "fp16"}, {"loss-scale", "dynamic"}}), "");
}

TEST(Support, HoldsWeightsAsProductsTakeThemOrIn8Bits) {
  const auto held = [](std::vector<NamedValue> more) {
    const Settings settings = read_settings(more);
    return held_weights(settings, stored_weights(settings));
  };
  EXPECT_EQ(held({{"weights-dtype", "bf16"}}), DType::Fp32);
  EXPECT_EQ(held({{"weights-dtype", "bf16"}, {"compute-dtype", "bf16"}}), DType::Bf16);
  EXPECT_EQ(held({{"weights-dtype", "bf16"}, {"compute-dtype", "fp16"}}), DType::Fp32);
  EXPECT_EQ(held({{"weights-dtype", "bf16"}, {"compute-dtype", "bf16"}, {"nproc", "2"}}), DType::Fp32);
  EXPECT_EQ(held({{"weights-dtype", "fp8"}}), DType::Fp8);
}

TEST(Support, TakesWeightsIn8BitsWithAMasterOnOneRank) {
  EXPECT_EQ(refusal({{"weights-dtype", "fp8"}}), "");
  EXPECT_EQ(refusal({{"weights-dtype", "fp8"}, {"adapter", "lora"}}), "");
  EXPECT_NE(refusal({{"weights-dtype", "fp8"}, {"master-dtype", "none"}}).find("--master-dtype fp32"),
            std::string::npos);
  EXPECT_NE(refusal({{"weights-dtype", "fp8"}, {"master-dtype", "split"}}).find("contradicts"), std::string::npos);
  EXPECT_NE(refusal({{"weights-dtype", "fp8"}, {"nproc", "2"}}).find("--weights-dtype bf16"), std::string::npos);
  EXPECT_THROW(read_settings(std::vector<NamedValue>{{"moments-dtype", "fp8"}}), ConfigError);
}

TEST(Support, KeepsTheBestOnlyWhereSomethingIsHeldOut) {
  EXPECT_NE(refusal({{"keep-best", "true"}}).find("--keep-best needs held-out data"), std::string::npos);
  EXPECT_EQ(refusal({{"load_best_model_at_end", "true"}, {"eval-data", "held-out.txt"}, {"eval-steps", "5"}}), "");
}

TEST(Support, NamesTheNearestForWhatNobodyKnows) {
  EXPECT_NE(refusal({{"optimizer", "adamv"}}).find("did you mean 'adamw'"), std::string::npos);
  EXPECT_NE(refusal({{"lr-schedule", "cosin"}}).find("did you mean 'cosine'"), std::string::npos);
  EXPECT_NE(refusal({{"device", "tpu"}}), "");
}

TEST(Support, TakesAnEmulatedDeviceWithMemoryOfItsOwn) {
  EXPECT_NE(refusal({{"device", "emulated"}}).find("needs --device-memory"), std::string::npos);
  for (const char* bad : {"emulated:", "emulated:0", "emulated:-1", "emulated:fast", "emulatedx"})
    EXPECT_NE(refusal({{"device", bad}, {"device-memory", "1GiB"}}), "") << bad;
  EXPECT_NE(refusal({{"device", "emulated"}, {"device-memory", "1GiB"}, {"machine", "laptop-8gb"}}).find("contradicts"),
            std::string::npos);
  EXPECT_EQ(refusal({{"device", "emulated"}, {"device-memory", "1GiB"}}), "");

  plan::Machine machine = default_cpu_machine();
  const double compute = machine.compute.matmul;
  add_emulated_device(machine,
                      read_settings(std::vector<NamedValue>{{"device", "emulated:2.5"}, {"device-memory", "300MiB"}}));
  ASSERT_EQ(machine.tiers.size(), 3U);
  EXPECT_EQ(machine.tiers[0].kind, plan::TierKind::Device);
  EXPECT_EQ(machine.tiers[0].capacity, 300 * MiB);
  EXPECT_EQ(machine.tiers[0].up, 2.5e9);
  EXPECT_EQ(machine.tiers[0].down, 2.5e9);
  EXPECT_FALSE(machine.tiers[0].shared_link);
  EXPECT_EQ(machine.update_tier, 1);
  EXPECT_EQ(machine.compute.matmul, compute);
  EXPECT_EQ(machine.process_ram(std::vector<Bytes>{MiB, 2 * MiB, 5 * MiB}), machine.process_overhead + 3 * MiB);
}

TEST(Support, NamesWhatACardCannotDoYet) {
  EXPECT_EQ(refusal({{"device", "cuda"}}), "");
  EXPECT_EQ(refusal({{"device", "cuda:3"}, {"device-memory", "6GiB"}}), "");
  const auto refused = [](NamedValue value) { return refusal({{"device", "cuda"}, std::move(value)}); };
  for (const char* bad : {"cuda:", "cuda:x", "cuda:-1", "cudax"}) EXPECT_NE(refusal({{"device", bad}}), "") << bad;
  EXPECT_EQ(refused({"activations", "keep"}), "");
  EXPECT_NE(refused({"machine", "laptop-8gb"}).find("contradicts"), std::string::npos);
  EXPECT_NE(refused({"nproc", "2"}).find("several ranks"), std::string::npos);

  plan::Machine machine = default_cpu_machine();
  machine.contention.compute_beside_both = 0.5;
  add_card(machine, {.name = "cuda:0", .capacity = 5 * GiB, .down = 12e9, .up = 24e9, .compute = {.matmul = 4e13}});
  ASSERT_EQ(machine.tiers[0].kind, plan::TierKind::Device);
  EXPECT_EQ(machine.tiers[0].capacity, 5 * GiB);
  EXPECT_EQ(machine.compute.matmul, 4e13);
  EXPECT_EQ(machine.contention.compute_beside_both, 1);
  EXPECT_EQ(machine.process_ram(std::vector<Bytes>{GiB, 2 * MiB, 5 * MiB}), machine.process_overhead + 2 * MiB)
      << "its memory is no RAM of this process";
}

TEST(Support, PutsUpdatesWhereTheRecipeSays) {
  const auto on_device = [](NamedValue value) {
    return refusal({{"device", "cuda"}, {"update-on", "device"}, std::move(value)});
  };
  EXPECT_EQ(on_device({"optimizer", "adamw"}), "");
  EXPECT_EQ(on_device({"optimizer", "lomo"}), "");
  for (const NamedValue& other :
       {NamedValue{"optimizer", "lamb"}, {"moments-dtype", "bf16"}, {"weights-dtype", "bf16"}})
    EXPECT_NE(on_device(other).find("--update-on host"), std::string::npos) << other.name;
  EXPECT_EQ(
      refusal({{"device", "emulated"}, {"device-memory", "1GiB"}, {"update-on", "device"}, {"optimizer", "lamb"}}), "");

  const auto tier = [](std::vector<NamedValue> values) {
    plan::Machine machine = default_cpu_machine();
    add_card(machine, {.name = "cuda:0", .capacity = GiB, .down = 1e10, .up = 1e10, .compute = {.memory = 1e12}});
    place_updates(machine, read_settings(values));
    return std::pair(machine.update_tier, machine.update_memory == 1e12);
  };
  EXPECT_EQ(tier({}), std::pair(1, false));
  EXPECT_EQ(tier({{"update-on", "host"}}), std::pair(1, false));
  EXPECT_EQ(tier({{"update-on", "device"}}), std::pair(0, true));
  plan::Machine cpu = default_cpu_machine();
  place_updates(cpu, read_settings(std::vector<NamedValue>{{"update-on", "device"}}));
  EXPECT_EQ(cpu.update_tier, 0) << "its first tier is the host";
}

TEST(Support, GivesTheBaseOfAnAdapterARuleRateAndFormatOfItsOwn) {
  const auto rules = update_rules(read_settings(std::vector<NamedValue>{{"adapter", "lora"},
                                                                        {"lr", "1e-3"},
                                                                        {"base-optimizer", "sgd"},
                                                                        {"base-optimizer-option", "momentum=0.9"},
                                                                        {"base-lr", "5e-4"},
                                                                        {"base-weight-decay", "0"},
                                                                        {"param-group", "a*:lr=1e-3"},
                                                                        {"param-group", "b*:lr_factor=3"},
                                                                        {"weights-dtype", "bf16"},
                                                                        {"master-dtype", "none"}}));
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[0].precision.weights, DType::Fp32);
  EXPECT_EQ(rules[kBaseRule].precision.weights, DType::Bf16);
  EXPECT_EQ(rules[kBaseRule].rule->states().size(), 1U);
  const optim::UpdateArgs args = rules[kBaseRule].args({.lr = 1e-4, .weight_decay = 0.1});
  EXPECT_DOUBLE_EQ(args.lr, 5e-5);
  EXPECT_EQ(args.weight_decay, 0);
  EXPECT_EQ(rules[0].groups[0].lr_factor, 1);
  EXPECT_EQ(rules[kBaseRule].groups[0].lr_factor, 2) << "of the base's own rate";
  EXPECT_EQ(rules[kBaseRule].groups[1].lr_factor, 3);
}

TEST(Support, KeepsAMasterBesideWeightsOf16Bits) {
  const auto precision = [](const std::vector<NamedValue>& flags) { return weight_precision(read_settings(flags)); };
  EXPECT_EQ(precision({}).master, optim::Master::None);
  EXPECT_EQ(precision({{"weights-dtype", "bf16"}}).master, optim::Master::Fp32);
  EXPECT_EQ(precision({{"weights-dtype", "bf16"}, {"master-dtype", "split"}}).master, optim::Master::Split);
  EXPECT_EQ(precision({{"weights-dtype", "bf16"}, {"adapter", "lora"}}).weights, DType::Fp32);
  EXPECT_EQ(stored_weights(read_settings(std::vector<NamedValue>{{"weights-dtype", "fp16"}})), DType::Fp16);
  EXPECT_EQ(refusal({{"weights-dtype", "bf16"}, {"master-dtype", "none"}, {"stochastic-rounding", "true"}}), "");
  EXPECT_EQ(refusal({{"weights-dtype", "fp16"}}), "");
}

TEST(Support, RefusesContradictions) {
  EXPECT_NE(refusal({{"weights-dtype", "fp16"}, {"master-dtype", "split"}}).find("use --master-dtype fp32"),
            std::string::npos);
  EXPECT_NE(refusal({{"master-dtype", "split"}}).find("use --master-dtype"), std::string::npos);
  EXPECT_NE(refusal({{"eval-steps", "5"}}).find("--eval-data"), std::string::npos);
  EXPECT_NE(refusal({{"optimizer-option", "nesterov=true"}}).find("has no option"), std::string::npos);
  EXPECT_NE(refusal({{"optimizer", "sgd"}, {"optimizer-option", "nesterow=true"}}).find("dampening"),
            std::string::npos);
  const NamedValue schedule{"lr-schedule", "cosine_with_min_lr"};
  EXPECT_NE(refusal({schedule}).find("needs its lowest rate"), std::string::npos);
  EXPECT_NE(refusal({schedule, {"lr-schedule-option", "min_lr=1,min_lr_rate=1"}}).find("both"), std::string::npos);
  EXPECT_NE(refusal({schedule, {"lr-schedule-option", "num_cycles=2"}}).find("min_lr_rate"), std::string::npos);
  EXPECT_NE(refusal({{"lr-schedule-option", "min_lr=1"}}).find("cosine has no option"), std::string::npos);
}

TEST(Support, EachRuleTakesItsOwnOptionsAndNoOthers) {
  const auto with = [](const char* optimizer, const char* option) {
    return refusal({{"optimizer", optimizer}, {"optimizer-option", option}});
  };
  EXPECT_EQ(with("adagrad", "initial_accumulator_value=0.1"), "");
  EXPECT_EQ(with("rmsprop", "centered=true"), "");
  EXPECT_EQ(with("adafactor", "beta1=none"), "");
  EXPECT_NE(with("adagrad", "initial_accumulator=0.1").find("did you mean 'initial_accumulator_value'"),
            std::string::npos);
  EXPECT_NE(with("lomo", "momentum=0.9").find("it has no options"), std::string::npos);
  EXPECT_NE(with("rmsprop", "alpha=1").find("0 <= alpha < 1"), std::string::npos);
  EXPECT_NE(with("rmsprop", "centered=maybe").find("false|true"), std::string::npos);
  EXPECT_NE(with("adafactor", "warmup_init=true").find("relative_step"), std::string::npos);
}

TEST(Support, FlagsReachTheRulesThatHaveThem) {
  const auto options = [](const std::vector<NamedValue>& flags) { return rule_options(read_settings(flags)).values; };
  EXPECT_TRUE(options({}).empty());
  EXPECT_EQ(options({{"betas", "0.8,0.95"}, {"eps", "1e-6"}, {"momentum", "0.5"}}),
            (optim::GivenOptions{{"beta1", "0.8"}, {"beta2", "0.95"}, {"eps", "1e-06"}}));
  EXPECT_EQ(options({{"optimizer", "sgd"}, {"betas", "0.8,0.95"}, {"momentum", "0.5"}}),
            (optim::GivenOptions{{"momentum", "0.5"}}));
  EXPECT_NE(refusal({{"optimizer", "sgd"}, {"momentum", "0.5"}, {"optimizer-option", "momentum=0.9"}}).find("both"),
            std::string::npos);
}

TEST(Support, RatesOfGroupsAreMultiplesOfTheRate) {
  const auto rules = update_rules(read_settings(
      std::vector<NamedValue>{{"lr", "1e-3"}, {"param-group", "a*:lr=5e-4"}, {"param-group", "b*:weight_decay=0"}}));
  const auto& groups = rules.front().groups;
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].lr_factor, 0.5);
  EXPECT_EQ(groups[0].weight_decay, std::nullopt);
  EXPECT_EQ(groups[1].lr_factor, 1);
  EXPECT_EQ(groups[1].weight_decay, 0);
  EXPECT_NE(refusal({{"lr", "0"}, {"param-group", "a*:lr=5e-4"}}).find("--lr above 0"), std::string::npos);
}

TEST(Support, NamesWhatAVerbNeeds) {
  const auto missing = [](const char* verb, const std::vector<NamedValue>& flags) {
    try {
      check_required(read_settings(flags), verb);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(missing("train", {}).find("--model"), std::string::npos);
  EXPECT_NE(missing("train", {{"model", "m"}}).find("--data"), std::string::npos);
  EXPECT_NE(missing("train", {{"model", "m"}, {"data", "d"}}).find("--output"), std::string::npos);
  EXPECT_EQ(missing("train", {{"model", "m"}, {"dry-run", "true"}}), "");
  EXPECT_EQ(missing("plan", {{"model", "m"}}), "");
  EXPECT_NE(missing("eval", {{"model", "m"}}).find("--data"), std::string::npos);
  EXPECT_EQ(missing("eval", {{"model", "m"}, {"tasks", "arc.jsonl"}}), "");
  EXPECT_NE(missing("sample", {{"model", "m"}}).find("--prompt"), std::string::npos);
  EXPECT_NE(missing("export", {{"model", "m"}}).find("--output"), std::string::npos);
}

TEST(Support, HeldOutDataComesFromOnePlace) {
  EXPECT_EQ(refusal({{"validation-split", "0.1"}, {"eval-steps", "5"}}), "");
  EXPECT_NE(refusal({{"validation-split", "0.1"}, {"eval-data", "a.txt"}}).find("contradicts"), std::string::npos);
  EXPECT_NE(refusal({{"eval-steps", "5"}}).find("--validation-split"), std::string::npos);
  EXPECT_THROW(read_settings(std::vector<NamedValue>{{"validation-split", "1"}}), ConfigError);
}

}  // namespace
}  // namespace sluice::recipe
