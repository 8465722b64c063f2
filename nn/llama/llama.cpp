// Llama. See llama.h; the ops are in core/transformer.cpp.
#include "nn/llama/llama.h"

#include <algorithm>  // min
#include <cmath>      // isfinite

#include "core/ops.h"
#include "core/transformer.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/recompute.h"

namespace slim {

// ---- configuration ------------------------------------------------------------------------------

void LlamaConfig::check_valid() const {
    const std::pair<const char*, int64_t> sizes[] = {
        {"vocab_size", vocab_size},
        {"hidden_size", hidden_size},
        {"intermediate_size", intermediate_size},
        {"num_hidden_layers", num_hidden_layers},
        {"num_attention_heads", num_attention_heads},
        {"num_key_value_heads", num_key_value_heads},
        {"max_position_embeddings", max_position_embeddings}};
    for (const auto& [name, size] : sizes)
        check(size > 0 && size <= 1 << 24, name, ": ", size, "; it must be between 1 and ",
              1 << 24);
    check(num_attention_heads % num_key_value_heads == 0, "num_key_value_heads: ",
          num_key_value_heads, "; it must divide num_attention_heads, which is ",
          num_attention_heads);
    check(head_dim > 0 || hidden_size % num_attention_heads == 0, "num_attention_heads: ",
          num_attention_heads, "; without a head_dim, it must divide hidden_size, which is ",
          hidden_size);
    const int64_t width = head_dim ? head_dim : hidden_size / num_attention_heads;
    check(width > 0 && width % 2 == 0 && width <= 1 << 16, "head_dim: ", width,
          "; it must be even and at most 65536: RoPE rotates pairs of values");
    check(std::isfinite(rms_norm_eps) && rms_norm_eps >= 0 && rms_norm_eps < 1,
          "rms_norm_eps: ", rms_norm_eps, "; it must be between 0 and 1");
    check(std::isfinite(rope_theta) && rope_theta > 0, "rope_theta: ", rope_theta,
          "; it must be positive");
}

// ---- parts --------------------------------------------------------------------------------------

static Tensor make_weight(const Shape& shape, Rng* rng) {
    return (rng ? normal(shape, 0, 0.02, *rng) : zeros(shape)).set_requires_grad();
}

static ModulePtr make_linear(int64_t in, int64_t out, Rng* rng) {
    return std::make_shared<Linear>(make_weight({out, in}, rng));
}

RMSNorm::RMSNorm(int64_t dim, double eps) : weight(ones({dim}).set_requires_grad()), eps(eps) {}

Tensor RMSNorm::forward(const Tensor& x) { return rms_norm(x, weight, eps); }

Tensor LlamaAttention::forward(const Tensor& x) {
    const int64_t time = std::min(x.size(0), context->length);
    const Tensor q = rope((*q_proj)(x), heads, time, context->angles);
    const Tensor k = rope((*k_proj)(x), kv_heads, time, context->angles);
    return (*o_proj)(causal_attention(q, k, (*v_proj)(x), heads, kv_heads, time));
}

Tensor LlamaMLP::forward(const Tensor& x) {
    return (*down_proj)(silu_mul((*gate_proj)(x), (*up_proj)(x)));
}

LlamaDecoderLayer::LlamaDecoderLayer(const LlamaConfig& c, std::shared_ptr<const Context> context,
                                     Rng* rng)
    : input_layernorm(c.hidden_size, c.rms_norm_eps),
      post_attention_layernorm(c.hidden_size, c.rms_norm_eps) {
    const int64_t width = c.num_attention_heads * c.head_dim;
    const int64_t kv_width = c.num_key_value_heads * c.head_dim;
    self_attn.q_proj = make_linear(c.hidden_size, width, rng);
    self_attn.k_proj = make_linear(c.hidden_size, kv_width, rng);
    self_attn.v_proj = make_linear(c.hidden_size, kv_width, rng);
    self_attn.o_proj = make_linear(width, c.hidden_size, rng);
    self_attn.heads = c.num_attention_heads;
    self_attn.kv_heads = c.num_key_value_heads;
    self_attn.context = std::move(context);
    mlp.gate_proj = make_linear(c.hidden_size, c.intermediate_size, rng);
    mlp.up_proj = make_linear(c.hidden_size, c.intermediate_size, rng);
    mlp.down_proj = make_linear(c.intermediate_size, c.hidden_size, rng);
}

Tensor LlamaDecoderLayer::forward(const Tensor& x) {
    const Tensor h = x + self_attn(input_layernorm(x));
    return h + mlp(post_attention_layernorm(h));
}

// ---- the model ----------------------------------------------------------------------------------

LlamaModel::LlamaModel(const LlamaConfig& config, std::shared_ptr<const Context> context, Rng* rng)
    : embed_tokens(std::make_shared<Embedding>(
          make_weight({config.vocab_size, config.hidden_size}, rng))),
      norm(config.hidden_size, config.rms_norm_eps) {
    for (int64_t i = 0; i < config.num_hidden_layers; i++)
        layers.layers.push_back(std::make_shared<LlamaDecoderLayer>(config, context, rng));
}

Tensor LlamaModel::lookup(std::span<const int> ids) {
    Tensor h = embed_tokens->lookup(ids);
    for (const ModulePtr& layer : layers.layers)
        h = checkpoint_layers ? checkpoint(*layer, h) : (*layer)(h);
    return norm(h);
}

// The configuration with its head_dim.
static LlamaConfig complete(LlamaConfig config) {
    config.check_valid();
    if (config.head_dim == 0) config.head_dim = config.hidden_size / config.num_attention_heads;
    return config;
}

LlamaForCausalLM::LlamaForCausalLM(const LlamaConfig& wanted, Rng* rng)
    : config(complete(wanted)),
      context(std::make_shared<Context>()),
      model(config, context, rng),
      lm_head(make_linear(config.hidden_size, config.vocab_size, rng)) {
    set_context(config.max_position_embeddings);
    if (config.tie_word_embeddings) {
        const auto& table = dynamic_cast<const Embedding&>(*model.embed_tokens);
        lm_head = std::make_shared<Linear>(table.weight);
    }
}

void LlamaForCausalLM::set_context(int64_t length) {
    check(length > 0 && length <= config.max_position_embeddings, "context: ", length,
          "; it must be between 1 and this model's max_position_embeddings, ",
          config.max_position_embeddings);
    *context = {length, rope_angles(length, config.head_dim, config.rope_theta)};
}

Tensor LlamaForCausalLM::lookup(std::span<const int> ids) {
    const int64_t rows = int64_t(ids.size()), length = context->length;
    check(rows > 0 && (rows < length || rows % length == 0), "LlamaForCausalLM: ", rows,
          " ids; they must be sequences of ", length, " ids, the context, or one shorter sequence");
    return (*lm_head)(model.lookup(ids));
}

}  // namespace slim
