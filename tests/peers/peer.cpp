// The C++ half of the tests against PyTorch and PEFT, which drive it. A job is a JSON file:
//
//     modules       a list of {"name": "model.fc1", "shape": [out, in], "bias": true} for a Linear,
//                   {"name": .., "kind": "embedding", "shape": [rows, dim], "padding_idx": 0}
//     base          safetensors: the parameters of these modules
//     input         safetensors: x [batch, in], or ids of an Embedding; and dy, to get gradients
//     adapter       a folder of PEFT's to attach; or
//     config        what adapter_config.json would say, for a new adapter, with
//                   perturb: how far its parameters are moved, at random
//     save_adapter  the folder to write
//     axis, norm_gradient, scaling, form    "in", "exact", "alpha", "merged": not PEFT's choice
//     out           safetensors: logits, merged_logits, merged.NAME; of what is trained, in PEFT's
//                   names, value.NAME and grad.NAME
//     step          the learning rate of a step of SGD along these gradients: logits_after_step
//     save          safetensors: the parameters at the end, with the adapter merged
//
// The model is its modules one after another, with ReLU between two Linears.
//
// run:  build/peer JOB
#include <cstdio>

#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "nn/adapters/embedding_adapter.h"
#include "nn/peft/peft.h"
#include "nn/peft/peft_config.h"
#include "nn/state_file.h"
#include "optim/sgd.h"

using namespace slim;

namespace {

// A part of a dotted name that is not the last.
struct Group : Module {
    std::vector<std::pair<std::string, ModulePtr>> children;

    std::string name() const override { return "Group"; }
    std::vector<Member> members() override {
        std::vector<Member> members;
        for (auto& [name, child] : children) members.push_back({name, child});
        return members;
    }
    // Returns the place of a name, which may be new.
    ModulePtr& at(const std::string& name) {
        const size_t dot = name.find('.');
        const std::string first = name.substr(0, dot);
        size_t i = 0;
        while (i < children.size() && children[i].first != first) i++;
        if (i == children.size()) children.push_back({first, nullptr});
        ModulePtr& child = children[i].second;
        if (dot == std::string::npos) return child;
        if (!child) child = std::make_shared<Group>();
        return dynamic_cast<Group&>(*child).at(name.substr(dot + 1));
    }
};

struct Net : Group {
    std::vector<std::string> order;
    std::vector<int> ids;  // the input of an Embedding, which comes first

    explicit Net(const Json& modules) {
        Rng rng(1);
        for (const Json& entry : modules.as_list("modules")) {
            order.push_back(entry.at("name", "modules").as_string("name"));
            const Json::List& shape = entry.at("shape", "modules").as_list("shape");
            const int64_t rows = shape[0].as_int("shape"), columns = shape[1].as_int("shape");
            EmbeddingOptions options;
            if (const Json* id = entry.find("padding_idx"); id && !id->is_null())
                options.padding_idx = int(id->as_int("padding_idx"));
            const Json* bias = entry.find("bias");
            if (entry.find("kind"))
                at(order.back()) = std::make_shared<Embedding>(rows, columns, rng, options);
            else
                at(order.back()) = std::make_shared<Linear>(columns, rows, rng,
                                                            !bias || bias->as_bool("bias"));
        }
    }
    std::string name() const override { return "Net"; }
    Tensor forward(const Tensor& x) override {
        Tensor h = x;
        for (size_t i = 0; i < order.size(); i++) {
            if (i == 0 && !ids.empty()) {
                h = at(order[0])->lookup(ids);
                continue;
            }
            if (i > (ids.empty() ? 0 : 1)) h = relu(h);
            h = at(order[i])->forward(h);
        }
        return h;
    }
};

std::string text(const Json& job, const std::string& key) {
    const Json* value = job.find(key);
    return value ? value->as_string(key) : "";
}

AdapterSet make_adapter(Net& model, const Json& job) {
    std::vector<std::string> notes;
    AdapterConfig config = config_from_json(job.at("config", "job"), "config", notes);
    if (text(job, "form") == "merged") config.method = Method::kDoRAMerged;
    if (text(job, "axis") == "in") config.axis = Axis::kIn;
    if (text(job, "scaling") == "alpha") config.scaling = Scaling::kAlpha;
    if (text(job, "norm_gradient") == "exact") config.norm_gradient = NormGradient::kExact;
    Rng rng(7);
    AdapterSet adapters = attach(model, config, rng);
    const double deviation = job.at("perturb", "job").as_double("perturb");
    for (Tensor p : model.parameters())
        for (int64_t i = 0; p.requires_grad() && i < p.size(); i++)
            p.mutable_data()[i] += real(deviation * rng.normal());
    return adapters;
}

// What is trained, and its gradients, by the names in PEFT's file.
void store_trained(Net& model, const AdapterSet& adapters, TensorFile& out) {
    std::map<const real*, std::string> names;
    for (const NamedParameter& p : model.named_parameters()) names[p.tensor.data()] = p.name;
    for (const AdaptedPlace& place : adapters.places())
        for (const AdapterTensor& t :
             place.adapter() ? place.adapter()->adapter_tensors() : std::vector<AdapterTensor>())
            names[t.tensor->data()] = place.name + "." + t.peft_name + (t.transposed ? "^T" : "");
    for (const Tensor& p : model.parameters()) {
        if (!p.requires_grad()) continue;
        std::string name = names[p.data()];
        const bool transposed = name.ends_with("^T");
        if (transposed) name.resize(name.size() - 2);
        const auto stored = [&](const Tensor& x) { return store(transposed ? transpose(x) : x); };
        out.tensors["value." + name] = stored(p.detach());
        out.tensors["grad." + name] = stored(p.has_grad() ? p.grad() : zeros(p.shape()));
    }
}

int peer(int argc, char** argv) {
    check(argc == 2, "expected the path of a job");
    const Json job = parse_json(as_text(read_file(argv[1], 1 << 24)), argv[1]);
    Net model(job.at("modules", "job"));
    load_parameters(model, text(job, "base"));
    const TensorFile input = read_safetensors(text(job, "input"));
    Tensor x;
    if (input.tensors.count("ids"))
        for (int64_t id : input.integers("ids")) model.ids.push_back(int(id));
    else x = input.tensor("x");
    std::printf("%s\n", to_string(model).c_str());

    Rng rng(3);
    AdapterSet adapters(model);
    if (job.find("adapter"))
        adapters = attach_adapter(model, load_adapter(text(job, "adapter")), rng);
    else if (job.find("config")) adapters = make_adapter(model, job);
    if (job.find("save_adapter")) save_adapter(text(job, "save_adapter"), adapters, "base");

    TensorFile out;
    out.metadata = {{"format", "pt"}};
    const auto logits = [&] {
        const EvalMode evaluating(model);
        const NoGrad no_grad;
        return store(model(x));
    };
    out.tensors["logits"] = logits();
    if (input.tensors.count("dy")) {
        backward(model(x), input.tensor("dy"));
        store_trained(model, adapters, out);
    }
    if (const Json* rate = job.find("step")) {
        SGD(model.parameters(), {.lr = rate->as_double("step")}).step();
        out.tensors["logits_after_step"] = logits();
    }
    if (!adapters.active().empty()) {
        adapters.merge();
        out.tensors["merged_logits"] = logits();
        adapters.merge_and_unload();
    }
    for (const auto& [name, tensor] : model.state_dict())
        out.tensors["merged." + name] = store(tensor);
    if (job.find("save")) save_parameters(model, text(job, "save"));
    write_safetensors(text(job, "out"), out);
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, peer); }
