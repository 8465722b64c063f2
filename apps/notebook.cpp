// The notebook "LoRA and DoRA from scratch" in C++, cell by cell. Its LoRA and DoRA layers are
// written by hand on the ops of core; Linear, the perceptron and Adam are the library's. nn has
// these layers ready made, and faster. Its LinearWithDoRA uses m; the notebook's does not (see
// below). Run: make notebook
#include <cmath>
#include <cstdio>
#include <ctime>
#include <iostream>
#include "apps/program.h"
#include "core/autograd.h"
#include "core/ops.h"
#include "data/mnist.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "optim/adam.h"
#include "optim/trainer.h"

using namespace slim;
// ---- cell 2: the layers ----
struct LoRALayer : Module {
    Tensor A, B;  // [in, rank], [rank, out]
    double alpha;
    LoRALayer(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng& rng)
        : A(normal({in_dim, rank}, 0, 1 / std::sqrt(double(rank)), rng).set_requires_grad()),
          B(zeros({rank, out_dim}).set_requires_grad()), alpha(alpha) {}
    std::string name() const override { return "LoRALayer"; }
    std::vector<Member> members() override { return {{"A", A}, {"B", B}}; }
    Tensor forward(const Tensor& x) override { return alpha * matmul(matmul(x, A), B); }
};

struct LinearWithLoRA : Module {
    std::shared_ptr<Linear> linear;
    LoRALayer lora;
    LinearWithLoRA(const ModulePtr& layer, int64_t rank, double alpha, Rng& rng)
        : linear(as_linear(layer)),
          lora(linear->in_features(), linear->out_features(), rank, alpha, rng) {}
    std::string name() const override { return "LinearWithLoRA"; }
    std::vector<Member> members() override { return {{"linear", *linear}, {"lora", lora}}; }
    Tensor forward(const Tensor& x) override { return (*linear)(x) + lora(x); }
    Tensor combined_weight() const {  // W + alpha (A B)^T, [out, in]
        return linear->weight + lora.alpha * transpose(matmul(lora.A, lora.B));
    }
};

struct LinearWithLoRAMerged : LinearWithLoRA {  // x W^T + alpha x A B = x (W + alpha (A B)^T)^T
    using LinearWithLoRA::LinearWithLoRA;
    std::string name() const override { return "LinearWithLoRAMerged"; }
    Tensor forward(const Tensor& x) override {
        return slim::linear(x, combined_weight(), linear->bias);
    }
};

// The notebook's layer of this name, line by line. It is inert: dora_modification is never used, so
// m gets no gradient and the output is LoRA's. DoRA normalises a weight, not activations.
struct LinearWithDoRA : LinearWithLoRA {
    using LinearWithLoRA::LinearWithLoRA;
    Tensor m = ones({linear->out_features()}).set_requires_grad();
    std::string name() const override { return "LinearWithDoRA"; }
    std::vector<Member> members() override {
        return {{"m", m}, {"linear", *linear}, {"lora", lora}};
    }
    Tensor forward(const Tensor& x) override {
        const Tensor lora_output = lora(x), norms = norm(lora_output, 1);
        const Tensor lora_output_norm = mul_col(lora_output, ones(norms.shape()) / norms);
        const Tensor dora_modification = mul_row(lora_output_norm, m);
        return (*linear)(x) + lora_output;
    }
};

struct LinearWithDoRAMerged : LinearWithLoRA {  // m times the direction of each column, per input
    using LinearWithLoRA::LinearWithLoRA;
    Tensor m = norm(linear->weight.detach(), 0).set_requires_grad();
    std::string name() const override { return "LinearWithDoRAMerged"; }
    std::vector<Member> members() override {
        return {{"m", m}, {"linear", *linear}, {"lora", lora}};
    }
    Tensor forward(const Tensor& x) override {
        const Tensor numerator = combined_weight(), denominator = norm(numerator, 0);
        return slim::linear(x, mul_row(numerator, m / denominator), linear->bias);
    }
};

// ---- cell 8: evaluation and training ----
double compute_accuracy(Module& m, const DataSet& set) { return 100 * evaluate(m, set).accuracy; }
void train(int epochs, Module& model, Optimizer& optimizer, const DataSet& set) {
    const std::time_t start = std::time(nullptr);
    Batches train_loader(set, 64);  // in the order of the file, as shuffle=False
    for (int epoch = 1; epoch <= epochs; epoch++, train_loader.in_order()) {
        model.train();
        Batch batch;
        for (int i = 0; train_loader.next(batch); i++) {
            const Tensor loss = cross_entropy(model(batch.x), batch.labels);
            optimizer.zero_grad();
            backward(loss);
            optimizer.step();
            if (i % 400 == 0)
                std::printf("Epoch %03d/%03d | Batch %03d/%03d | Loss: %.4f\n", epoch, epochs,
                            i, int(train_loader.batches_per_epoch()), double(loss.item()));
        }
        std::printf("Epoch: %03d/%03d training accuracy: %.2f%%\n", epoch, epochs,
                    compute_accuracy(model, set));
        std::printf("Time elapsed: %.2f min\n", std::difftime(std::time(nullptr), start) / 60);
    }
    std::printf("Total Training Time: %.2f min\n", std::difftime(std::time(nullptr), start) / 60);
}

// ---- cell 11: freezing ----
void freeze_linear_layers(Module& model) {
    for (const NamedModule& m : model.named_modules())
        if (dynamic_cast<Linear*>(m.module)) m.module->set_requires_grad(false);
}

int run(int argc, char** argv) {
    int64_t num_epochs = 10;
    std::string data = "data/mnist";
    Options options("The notebook: pretrains an MLP on MNIST, then fine-tunes it with DoRA.");
    options.add("epochs", num_epochs, "epochs of pretraining, and of fine-tuning", 1, 10000);
    options.add("data", data, "folder with the four MNIST files", "DIR");
    options.parse_strict(argc, argv);
    // ---- cells 3 to 5: one layer, five ways: the same numbers before training, since B = 0 ----
    Rng rng(123);
    const auto layer = std::make_shared<Linear>(10, 2, rng);
    const Tensor x = normal({1, 10}, 0, 1, rng);
    std::cout << (*layer)(x) << "\n" << LinearWithLoRA(layer, 2, 4, rng)(x) << "\n"
              << LinearWithLoRAMerged(layer, 2, 4, rng)(x) << "\n"
              << LinearWithDoRA(layer, 2, 4, rng)(x) << "\n"
              << LinearWithDoRAMerged(layer, 2, 4, rng)(x) << "\n\n";
    // ---- cells 6 to 8: the model, the data, pretraining ----
    MultilayerPerceptron model(784, 128, 256, 10, rng);
    Adam optimizer_pretrained(model.parameters(), {.lr = 0.005});
    const DataSet train_set = load_mnist(data, Split::kTrain);
    const DataSet test_set = load_mnist(data, Split::kTest);
    train(int(num_epochs), model, optimizer_pretrained, train_set);
    std::printf("Test accuracy: %.2f%%\n\n", compute_accuracy(model, test_set));
    // ---- cells 9 and 10: a copy, and its layers exchanged ----
    MultilayerPerceptron model_dora(784, 128, 256, 10, rng);
    model_dora.load_state_dict(model.state_dict());
    std::cout << model_dora << "\n\n";
    for (ModulePtr* layer : {&model_dora.layers[0], &model_dora.layers[2], &model_dora.layers[4]})
        *layer = std::make_shared<LinearWithDoRAMerged>(*layer, 4, 8, rng);
    std::cout << model_dora << "\n\n";
    freeze_linear_layers(model_dora);
    for (const NamedParameter& p : model_dora.named_parameters())
        std::printf("%s: %s\n", p.name.c_str(), p.tensor.requires_grad() ? "True" : "False");
    // ---- cells 12 and 13: fine-tuning, and the two accuracies ----
    Adam optimizer_dora(model_dora.parameters(), {.lr = 0.005});
    train(int(num_epochs), model_dora, optimizer_dora, train_set);
    std::printf("Test accuracy: %.2f%%\n", compute_accuracy(model, test_set));
    std::printf("Test accuracy DoRA finetune: %.2f%%\n", compute_accuracy(model_dora, test_set));
    return 0;
}
int main(int argc, char** argv) { return run_program(argc, argv, run); }
