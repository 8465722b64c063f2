// Lesson 4: the gradients of a matrix product, from its indices.
//
// You will learn: why dW = dy^T x and dx = dy W. Neither has to be learned by heart: write one
//   element as a sum, see where an input occurs, add up. And how shapes
//   check it.
//
// Run: make lesson-04    (make gdb-04 stops in slim::LinearNode::backward)
// Do:  make ex-04
//
// Expected output:
//
//   y = x W^T, with x [2, 3] and W [2, 3]:
//     y_01 = x_00 W_10 + x_01 W_11 + x_02 W_12 = 1*0 + 2*1 + 3*4 = 14
//
//   nudge W_12 by 1: y gains [[0, 3], [0, 6]], which is column 2 of x, in column 1 of y
//   so with dy = [[1, 10], [100, 1000]]:
//     dW_12 = dy_01 x_02 + dy_11 x_12 = 10*3 + 1000*6 = 6030
//
//   dW by indices = [[401, 502, 603], [4010, 5020, 6030]]
//   dy^T x        = [[401, 502, 603], [4010, 5020, 6030]]
//   backward()    = [[401, 502, 603], [4010, 5020, 6030]]
//
//   dx by indices = [[2, 11, 40], [200, 1100, 4000]]
//   dy W          = [[2, 11, 40], [200, 1100, 4000]]
//   backward()    = [[2, 11, 40], [200, 1100, 4000]]
//
//   db by indices = [101, 1010]
//   backward()    = [101, 1010]
#include <cstdio>

#include "core/autograd.h"
#include "core/ops.h"
#include "nn/linear.h"

using namespace slim;

// "[[1, 2], [3, 4]]"
static std::string text(const Tensor& x) {
    if (x.dim() == 2) {
        std::string rows;
        for (int64_t i = 0; i < x.size(0); i++) {
            const real* row = x.data() + i * x.size(1);
            rows += (i ? ", " : "") + text(tensor({row, row + x.size(1)}));
        }
        return "[" + rows + "]";
    }
    std::string items;
    for (real value : x.to_vector()) items += (items.empty() ? "" : ", ") + to_text(double(value));
    return "[" + items + "]";
}

int main() {
    // Two examples with three features each; two outputs. A row of W makes one output.
    const int64_t kBatch = 2, kIn = 3, kOut = 2;
    Tensor x = tensor({1, 2, 3, 4, 5, 6}, {kBatch, kIn}).set_requires_grad();
    Tensor W = tensor({2, 1, 0, 0, 1, 4}, {kOut, kIn}).set_requires_grad();
    Tensor b = zeros({kOut}).set_requires_grad();

    // Forward. One element of y = x W^T is row i of x times row j of W:
    //
    //     y_ij = sum over k of x_ik W_jk                   i: example, j: output, k: input
    const Tensor y = linear(x, W, b);
    std::printf("y = x W^T, with x [2, 3] and W [2, 3]:\n  y_01 = x_00 W_10 + x_01 W_11 + x_02 W_12"
                " = 1*0 + 2*1 + 3*4 = %g\n\n", double(y.at({0, 1})));

    // Where does one weight W_jk occur? In every y_ij of its output j, once for each example i,
    // with the factor x_ik:     dy_ij / dW_jk = x_ik, and 0 for all other outputs.
    // matmul_nt(x, W) is x W^T, matmul_tn(dy, x) is dy^T x. On detached tensors no node is made.
    Tensor W_nudged = clone(W.detach());
    W_nudged.mutable_data()[1 * kIn + 2] += 1;  // W_12
    const Tensor gain = matmul_nt(x.detach(), W_nudged) - matmul_nt(x.detach(), W.detach());
    std::printf("nudge W_12 by 1: y gains %s, which is column 2 of x, in column 1 of y\n",
                text(gain).c_str());

    // dy_ij stands for dL/dy_ij, what the loss gains per unit of y_ij. Here it is made up.
    const Tensor dy = tensor({1, 10, 100, 1000}, {kBatch, kOut});
    std::printf("so with dy = [[1, 10], [100, 1000]]:\n  dW_12 = dy_01 x_02 + dy_11 x_12 = "
                "10*3 + 1000*6 = %g\n\n", 10. * 3 + 1000 * 6);

    // Backward. Add up all the places in which an input occurs:
    //
    //     dW_jk = sum over i of dy_ij x_ik      = (dy^T x)_jk      W_jk is in y_ij for every i
    //     dx_ik = sum over j of dy_ij W_jk      = (dy W)_ik        x_ik is in y_ij for every j
    //     db_j  = sum over i of dy_ij                              b_j  is in y_ij for every i
    //
    // A sum over the index that stands first in both is a transposed product: dy^T x. A sum over
    // the second index of one and the first of the other is a plain one: dy W.
    // The shapes are a check, not a proof: dW is as large as W, [out, in]. If batch, in and out
    // differ, dy^T x is the only product of dy [batch, out] and x [batch, in] that has this shape.
    // (Here batch = out = 2, so dy x has it too.) It sums over the batch, and so does db.
    Tensor dW = zeros({kOut, kIn}), dx = zeros({kBatch, kIn}), db = zeros({kOut});
    for (int64_t i = 0; i < kBatch; i++)
        for (int64_t j = 0; j < kOut; j++) {
            db.mutable_data()[j] += dy.at({i, j});
            for (int64_t k = 0; k < kIn; k++) {
                dW.mutable_data()[j * kIn + k] += dy.at({i, j}) * x.at({i, k});
                dx.mutable_data()[i * kIn + k] += dy.at({i, j}) * W.at({j, k});
            }
        }
    backward(y, dy);
    std::printf("dW by indices = %s\n", text(dW).c_str());
    std::printf("dy^T x        = %s\n", text(matmul_tn(dy, x.detach())).c_str());
    std::printf("backward()    = %s\n\n", text(W.grad()).c_str());
    std::printf("dx by indices = %s\n", text(dx).c_str());
    std::printf("dy W          = %s\n", text(matmul(dy, W.detach())).c_str());
    std::printf("backward()    = %s\n\n", text(x.grad()).c_str());
    std::printf("db by indices = %s\n", text(db).c_str());
    std::printf("backward()    = %s\n", text(b.grad()).c_str());
}
