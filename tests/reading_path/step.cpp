// One training step of DoRA, from the IDX file to the updated magnitudes, for `make reading-path`:
// what it runs is counted by gcov. A first step has made what only a first step makes.
#include "core/autograd.h"
#include "core/ops.h"
#include "data/batches.h"
#include "data/mnist.h"
#include "nn/adapters/adapt.h"
#include "nn/sequential.h"
#include "optim/adam.h"

extern "C" void __gcov_reset();
extern "C" void __gcov_dump();

using namespace slim;

int main() {
    Rng rng(1);
    MLP model(784, 128, 256, 10, rng);
    attach(model, {.method = Method::kDoRA, .rank = 4, .norm_gradient = NormGradient::kExact}, rng);
    Adam adam(model.parameters(), {.lr = 0.005});
    const auto step = [&] {
        const DataSet images = load_mnist("data/mnist", Split::kTest);
        Batches batches(images, 64);
        Batch batch;
        batches.next(batch);
        adam.zero_grad();
        backward(cross_entropy(model(batch.x), batch.labels));
        adam.step();
    };
    step();
    __gcov_reset();
    step();
    __gcov_dump();
    return 0;
}
