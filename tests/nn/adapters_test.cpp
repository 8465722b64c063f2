// Choosing modules by name, and several adapters on one base: adding, switching, merging.
#include <limits>

#include "nn/activation.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "tests/nn/net.h"
#include "tests/testing.h"

namespace slim {

namespace {

using Names = std::vector<std::string>;

const Method kMethods[] = {Method::kLoRA, Method::kDoRA, Method::kDoRAMerged};

AdapterConfig small(Method method, Names targets = {"all-linear", "embed"}) {
    return {
        .method = method, .rank = 2, .alpha = 6, .target_modules = std::move(targets)};
}

Names trained_names(Module& model) {
    Names names;
    for (const NamedParameter& p : model.named_parameters())
        if (p.tensor.requires_grad()) names.push_back(p.name);
    return names;
}

}  // namespace

// ---- choosing
// ------------------------------------------------------------------------------------

TEST_CASE("select_modules: an entry is a full name or its last parts, never a part of a part") {
    Rng rng(1);
    Net net(rng);
    const auto selected = [&](Names entries) {
        return select_modules(net, {.target_modules = std::move(entries)});
    };
    CHECK(selected({"fc1"}) == Names{"encoder.fc1", "fc1"});
    CHECK(selected({"encoder.fc1"}) == Names{"encoder.fc1"});
    CHECK(selected({"head", "fc2"}) == Names{"encoder.fc2", "head"});  // in the model's order
    CHECK(selected({"all-linear"}) == Names{"encoder.fc1", "encoder.fc2", "fc1", "head"});
    CHECK(selected({"all-linear", "embed"}) ==
          Names{"embed", "encoder.fc1", "encoder.fc2", "fc1", "head"});
    CHECK(selected({"fc1", "fc1", "encoder.fc1"}) == Names{"encoder.fc1", "fc1"});
    for (const std::string wrong :
         {"c1", "encoder", "fc", "FC1", "fc1.", ".fc1", "fc1.weight", ""}) {
        INFO(wrong);
        CHECK_ERROR(selected({"head", wrong}), std::string("\"") + wrong + "\"",
                    "embed, encoder.fc1, encoder.fc2, fc1, head");
    }
}

TEST_CASE("select_modules: one regular expression, for the whole name") {
    Rng rng(2);
    Net net(rng);
    const auto selected = [&](const char* pattern) {
        return select_modules(net, {.target_pattern = pattern});
    };
    CHECK(selected(".*fc1") == Names{"encoder.fc1", "fc1"});
    CHECK(selected("fc1") == Names{"fc1"});  // the whole of it
    CHECK(selected("(encoder\\.)?fc[12]") == Names{"encoder.fc1", "encoder.fc2", "fc1"});
    CHECK(selected("e.*") == Names{"embed", "encoder.fc1", "encoder.fc2"});
    CHECK_ERROR(selected("encoder"), "\"encoder\" matches no module", "encoder.fc2");
    CHECK_ERROR(selected("(fc1"), "\"(fc1\"", "not a regular expression");
    CHECK_ERROR(selected(std::string(70000, 'a').c_str()), "70000", "65536");
    // Deep nesting must not exhaust the stack.
    CHECK_ERROR(selected((std::string(19999, '(') + "zz" + std::string(19999, ')')).c_str()),
                "nested");
}

TEST_CASE("select_modules: what is excluded stays out, by either kind of name") {
    Rng rng(3);
    Net net(rng);
    CHECK(select_modules(net, {.exclude_modules = {"encoder.fc1", "head"}}) ==
          Names{"encoder.fc2", "fc1"});
    CHECK(select_modules(net, {.exclude_modules = {"fc1"}}) == Names{"encoder.fc2", "head"});
    CHECK(select_modules(net, {.exclude_pattern = "encoder\\..*"}) == Names{"fc1", "head"});
    CHECK_ERROR(select_modules(net, {.exclude_pattern = ".*"}), "nothing is selected",
                "encoder.fc1");
}

TEST_CASE("select_modules is a dry run: the model stays as it is") {
    Rng rng(4);
    Net net(rng);
    const std::string before = snapshot(net);
    select_modules(net, {});
    CHECK(snapshot(net) == before);
}

TEST_CASE("options_for: patterns are regular expressions for names or their last parts") {
    const auto rank_of = [](std::map<std::string, int64_t> pattern, const std::string& module) {
        return config_for({.rank = 9, .rank_pattern = std::move(pattern)}, module)
            .rank;
    };
    CHECK(rank_of({{"fc1", 2}}, "fc1") == 2);
    CHECK(rank_of({{"fc1", 2}}, "encoder.fc1") == 2);
    CHECK(rank_of({{"^fc1", 2}}, "fc1") == 2);
    CHECK(rank_of({{"^fc1", 2}}, "encoder.fc1") == 9);
    CHECK(rank_of({{"fc1", 2}}, "xfc1") == 9);
    CHECK(rank_of({{"fc1", 2}}, "fc1.x") == 9);
    CHECK(rank_of({{"layers\\.[02]", 2}}, "layers.2") == 2);
    CHECK(rank_of({{"layers\\.[02]", 2}}, "layers.1") == 9);
    CHECK(rank_of({{"fc.", 2}, {"fc1", 3}}, "fc1") == 2);  // the first in alphabetical order
    CHECK_ERROR(rank_of({{"(", 2}}, "fc1"), "not a regular expression");
    const AdapterConfig config{.rank = 4, .alpha = 8, .alpha_pattern = {{"fc1", 3}}};
    CHECK(config_for(config, "fc1").scaling_factor() == 0.75);
    CHECK(config_for(config, "fc2").scaling_factor() == 2);
}

// ---- what is trained
// -----------------------------------------------------------------------------

TEST_CASE("bias: none, that of adapted Linears, or that of every Linear is trained") {
    const std::map<BiasTraining, Names> wanted{
        {BiasTraining::kNone, {"fc1.lora.A", "fc1.lora.B", "head.lora.A", "head.lora.B"}},
        {BiasTraining::kLoRAOnly,
         {"fc1.linear.bias", "fc1.lora.A", "fc1.lora.B", "head.lora.A", "head.lora.B"}},
        {BiasTraining::kAll,
         {"encoder.fc1.bias", "encoder.fc2.bias", "fc1.linear.bias", "fc1.lora.A", "fc1.lora.B",
          "head.lora.A", "head.lora.B"}}};
    for (const auto& [bias, names] : wanted) {
        Rng rng(5);
        Net net(rng);
        const StateDict base = net.state_dict();
        const Tensor before = net.answer();
        AdapterConfig config = small(Method::kLoRA, {"^fc1", "head"});
        config.target_modules = {"head"};
        config.target_modules.push_back("fc1");
        config.exclude_modules = {"encoder.fc1"};
        config.bias = bias;
        AdapterSet adapters(net);
        adapters.add("a", config, rng);
        CHECK(trained_names(net) == names);
        CHECK(same_bits(net.answer(), before));

        // The trained biases are the adapter's own: the base keeps its.
        perturb_trained(net, rng);
        CHECK(largest_difference(net.answer(), before) > 0.01);
        adapters.disable();
        CHECK(same_bits(net.answer(), before));
        for (const auto& [name, tensor] : net.state_dict())
            CHECK(tensor.impl == base.at(name).impl);
    }
}

// ---- several adapters
// ----------------------------------------------------------------------------

TEST_CASE("Adapters: added, switched, disabled and removed; each answers as it did, to the bit") {
    for (const Method method : kMethods) {
        Rng rng(6);
        Net net(rng);
        const Tensor base = net.answer();
        AdapterSet adapters(net);
        CHECK(adapters.active().empty());

        adapters.add("one", small(method), rng);
        CHECK(adapters.active() == "one");
        CHECK(same_bits(net.answer(), base));  // fresh
        perturb_trained(net, rng);
        const Tensor one = net.answer();
        CHECK(largest_difference(one, base) > 0.01);

        AdapterConfig other = small(Method::kLoRA, {"fc1"});
        other.rank = 1;
        adapters.add("two", other, rng);  // around the base, not around "one"
        CHECK(adapters.active() == "two");
        CHECK(same_bits(net.answer(), base));
        perturb_trained(net, rng);
        const Tensor two = net.answer();
        CHECK(largest_difference(two, one) > 0.01);

        adapters.activate("one");
        CHECK(same_bits(net.answer(), one));
        adapters.activate("two");
        CHECK(same_bits(net.answer(), two));
        adapters.activate("two");
        CHECK(same_bits(net.answer(), two));
        adapters.disable();
        CHECK(adapters.active().empty());
        CHECK(same_bits(net.answer(), base));
        adapters.disable();
        adapters.activate("one");
        CHECK(same_bits(net.answer(), one));
        CHECK(adapters.names() == Names{"one", "two"});

        adapters.remove("two");  // not the active one: nothing changes
        CHECK(adapters.active() == "one");
        CHECK(same_bits(net.answer(), one));
        adapters.remove("one");
        CHECK(adapters.active().empty());
        CHECK(adapters.names().empty());
        CHECK(same_bits(net.answer(), base));
        CHECK(dynamic_cast<Linear*>(net.fc1.get()) != nullptr);
    }
}

TEST_CASE("Adapters: what is trained is the active adapter, and the base is in memory once") {
    Rng rng(7);
    MLP model(50, 40, 30, 10, rng);
    model.set_requires_grad(false);
    const int64_t base = memory_use().live_bytes;
    AdapterSet adapters(model);
    for (const std::string name : {"a", "b", "c", "d"})
        adapters.add(name, small(Method::kLoRA, {"4"}), rng);
    CHECK(trained_names(model) == Names{"layers.4.lora.A", "layers.4.lora.B"});
    const Tensor d = model.state_dict().at("layers.4.lora.A");
    adapters.activate("a");
    CHECK(model.state_dict().at("layers.4.lora.A").impl != d.impl);
    // Four times A [2, 30] and B [10, 2], and what rounding up to whole blocks adds.
    CHECK(memory_use().live_bytes - base < 4 * 2 * int64_t(80 * sizeof(real)) + 4 * 2 * 64);
    CHECK(model.state_dict().at("layers.4.linear.weight").requires_grad() == false);
}

TEST_CASE("Adapters: unknown and repeated names are errors that say which there are") {
    Rng rng(8);
    Net net(rng);
    AdapterSet adapters(net);
    CHECK_ERROR(adapters.activate("x"), "\"x\"", "there are none");
    CHECK_ERROR(adapters.merge(), "merge", "no adapter is active", "activate");
    CHECK_ERROR(adapters.unmerge(), "unmerge", "no adapter is active");
    adapters.add("one", small(Method::kLoRA), rng);
    adapters.add("two", small(Method::kDoRA), rng);
    perturb_trained(net, rng);
    const std::string before = snapshot(net);
    CHECK_ERROR(adapters.activate("three"), "\"three\"", "one, two");
    CHECK_ERROR(adapters.remove("three"), "\"three\"", "one, two");
    CHECK_ERROR(adapters.config("three"), "\"three\"");
    CHECK_ERROR(adapters.places("three"), "\"three\"");
    CHECK_ERROR(adapters.add("one", small(Method::kLoRA), rng), "\"one\"", "new");
    CHECK_ERROR(adapters.add("", small(Method::kLoRA), rng), "not empty");
    // An adapter that cannot be attached leaves the active one where it is.
    CHECK_ERROR(adapters.add("three", small(Method::kLoRA, {"fc9"}), rng), "\"fc9\"", "head");
    AdapterConfig wrong = small(Method::kLoRA);
    wrong.rank = 0;
    CHECK_ERROR(adapters.add("three", wrong, rng), "rank 0");
    CHECK(adapters.active() == "two");
    CHECK(adapters.names() == Names{"one", "two"});
    CHECK(snapshot(net) == before);
}

TEST_CASE("merge: the same answers at the base's price; unmerge is exact; merging twice is one") {
    for (const Method method : kMethods) {
        Rng rng(9);
        Net net(rng);
        const Tensor base = net.answer();
        const std::string base_state = snapshot(net);
        AdapterSet adapters(net);
        adapters.add("a", small(method), rng);
        perturb_trained(net, rng);
        const Tensor adapted = net.answer();
        const std::string before = snapshot(net);

        adapters.merge();
        CHECK(adapters.is_merged());
        CHECK(dynamic_cast<Adapter&>(*net.fc1).is_merged());  // each module says so
        CHECK(to_string(net).find("merged\n") != std::string::npos);
        const Tensor merged = net.answer();
        check_close(merged, adapted, kDouble ? 1e-12 : 1e-4, kDouble ? 1e-13 : 1e-5);
        MESSAGE("merged and unmerged differ by " << largest_difference(merged, adapted));
        adapters.merge();
        CHECK(same_bits(net.answer(), merged));
        adapters.unmerge();
        CHECK(same_bits(net.answer(), adapted));
        CHECK(snapshot(net) == before);
        adapters.unmerge();
        CHECK(same_bits(net.answer(), adapted));

        // A second merge sees what was trained in between.
        perturb_trained(net, rng);
        adapters.merge();
        CHECK(largest_difference(net.answer(), merged) > 0.01);
        adapters.disable();  // straight from merged
        CHECK(same_bits(net.answer(), base));
        net.train();
        net.set_requires_grad(true);
        for (const auto& [name, tensor] : net.state_dict()) CHECK(tensor.requires_grad());
        CHECK(snapshot(net) == base_state);
    }
}

TEST_CASE("merge: an adapter with NaN or infinity is refused, and nothing changes") {
    for (const Method method : kMethods)
        for (const double poison :
             {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
            for (const std::string name : {"embed.lora.B", "fc1.lora.A", "head.lora.B"}) {
                INFO(name << " holds " << poison);
                Rng rng(10);
                Net net(rng);
                AdapterSet adapters(net);
                adapters.add("a", small(method), rng);
                perturb_trained(net, rng);
                net.state_dict().at(name).mutable_data()[1] = real(poison);
                const std::string before = snapshot(net);
                CHECK_ERROR(adapters.merge(), "merge", "not finite");
                CHECK(snapshot(net) == before);
            }
}

TEST_CASE("Adapters: modules of an adapter take over whether the model trains or evaluates") {
    Rng rng(11);
    MLP model(5, 7, 3, 2, rng);
    AdapterSet adapters(model);
    AdapterConfig config = small(Method::kLoRA, {"all-linear"});
    config.dropout = 0.5;
    adapters.add("a", config, rng);
    perturb_trained(model, rng);
    const Tensor x = random_tensor({4, 5}, rng, false);
    const auto is_random = [&] { return largest_difference(model(x), model(x)) > 0; };
    CHECK(is_random());
    adapters.disable();
    model.eval();
    adapters.activate("a");
    CHECK(!is_random());
    adapters.disable();
    model.train();
    adapters.activate("a");
    CHECK(is_random());
}

TEST_CASE("Adapters: a module that stands in two places is adapted, merged and restored in both") {
    Rng rng(12);
    const auto twice = std::make_shared<Linear>(4, 4, rng);
    Sequential model({twice, std::make_shared<ReLU>(), twice});
    CHECK(select_modules(model, {.target_modules = {"2"}}) == Names{"0"});  // by its other name
    AdapterSet adapters(model);
    adapters.add("a", small(Method::kDoRA, {"2"}), rng);
    CHECK(adapters.places("a").size() == 1);
    CHECK(model.layers[0] == model.layers[2]);
    CHECK(model.layers[0] != twice);
    adapters.merge();
    CHECK(model.layers[0] == model.layers[2]);
    adapters.disable();
    CHECK(model.layers[0] == twice);
    CHECK(model.layers[2] == twice);
}

}  // namespace slim
