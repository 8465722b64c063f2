// The ops of a Llama: rms_norm, silu_mul, rope, causal_attention. Each row of a matrix
// [batch * time, width] is one position: first those of sequence 0, then of sequence 1, and so on.
// The heads of a position stand side by side in its row.
#pragma once

#include "core/tensor.h"

namespace slim {

// x [rows, dim], weight [dim] -> x / sqrt(mean of the row's squares + eps) * weight.
// (Zhang and Sennrich 2019, arXiv 1910.07467; torch.nn.functional.rms_norm)
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

// gate, up of one shape -> silu(gate) * up, with silu(g) = g sigmoid(g). (SwiGLU, arXiv 2002.05202)
Tensor silu_mul(const Tensor& gate, const Tensor& up);

// Returns [positions, head_dim]: for each position t the cosines of its head_dim / 2 angles
// t * theta^(-2j / head_dim), then their sines.
Tensor rope_angles(int64_t positions, int64_t head_dim, double theta);

// x [batch * time, heads * head_dim], angles [at least time, head_dim] -> x, where the pairs of
// each head are rotated by their position's angles. Value j is paired with j + head_dim / 2, as in
// Hugging Face's Llama. The paper and Meta's files pair neighbours.
// (Su et al. 2021, arXiv 2104.09864)
Tensor rope(const Tensor& x, int64_t heads, int64_t time, const Tensor& angles);

// q [batch * time, heads * head_dim], k and v [batch * time, kv_heads * head_dim]
//   -> [batch * time, heads * head_dim].
// Each head of each sequence: softmax(q k^T / sqrt(head_dim)) v, where a position sees itself and
// those before it. Each key/value head serves heads / kv_heads neighbouring heads.
// (torch.nn.functional.scaled_dot_product_attention with is_causal and enable_gqa)
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                        int64_t kv_heads, int64_t time);

}  // namespace slim
