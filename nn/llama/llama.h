// Llama: the transformer that LoRA and DoRA are mostly used on, as Hugging Face names its parts.
//
//     h = embed_tokens[ids]                                        [rows, hidden_size]
//     h = h + self_attn(input_layernorm(h))                        in each layer
//     h = h + mlp(post_attention_layernorm(h))
//     logits = lm_head(norm(h))                                    [rows, vocab_size]
//
//     self_attn(x) = o_proj(attention(rope(q_proj(x)), rope(k_proj(x)), v_proj(x)))
//     mlp(x) = down_proj(silu(gate_proj(x)) * up_proj(x))
//
// (Touvron et al. 2023, arXiv 2302.13971; transformers: LlamaForCausalLM) Rows are positions, one
// sequence after another; all sequences of a call have the same length. Names of parameters are
// those of transformers, "model.layers.0.self_attn.q_proj.weight". Its files are in pretrained.h.
#pragma once

#include "core/random.h"
#include "nn/module.h"
#include "nn/sequential.h"

namespace slim {

// The entries of config.json that this Llama knows, with its names.
struct LlamaConfig {
    int64_t vocab_size = 256;  // bytes
    int64_t hidden_size = 128;
    int64_t intermediate_size = 352;  // of the MLP
    int64_t num_hidden_layers = 4;
    int64_t num_attention_heads = 4;
    int64_t num_key_value_heads = 4;  // each serves num_attention_heads / num_key_value_heads heads
    int64_t head_dim = 0;             // 0: hidden_size / num_attention_heads
    int64_t max_position_embeddings = 128;  // the longest sequence
    double rms_norm_eps = 1e-6;
    double rope_theta = 10000;
    bool tie_word_embeddings = false;  // lm_head.weight is embed_tokens.weight

    void check_valid() const;  // throws an Error that names the first bad entry
};

// The length of the sequences, and the cosines and sines of RoPE's angles for it. All layers share
// one.
struct Context {
    int64_t length;
    Tensor angles;  // [length, head_dim], from rope_angles()
};

struct RMSNorm : Module {
    Tensor weight;  // [dim], at first 1
    double eps;

    RMSNorm(int64_t dim, double eps);
    std::string name() const override { return "RMSNorm"; }
    std::string extra() const override { return to_text(weight.size()) + ", eps=" + to_text(eps); }
    std::vector<Member> members() override { return {{"weight", weight}}; }
    Tensor forward(const Tensor& x) override;
};

struct LlamaAttention : Module {
    ModulePtr q_proj, k_proj, v_proj, o_proj;
    int64_t heads, kv_heads;
    std::shared_ptr<const Context> context;

    std::string name() const override { return "LlamaAttention"; }
    std::vector<Member> members() override {
        return {{"q_proj", q_proj}, {"k_proj", k_proj}, {"v_proj", v_proj}, {"o_proj", o_proj}};
    }
    Tensor forward(const Tensor& x) override;
};

struct LlamaMLP : Module {
    ModulePtr gate_proj, up_proj, down_proj;

    std::string name() const override { return "LlamaMLP"; }
    std::vector<Member> members() override {
        return {{"gate_proj", gate_proj}, {"up_proj", up_proj}, {"down_proj", down_proj}};
    }
    Tensor forward(const Tensor& x) override;
};

struct LlamaDecoderLayer : Module {
    LlamaAttention self_attn;
    LlamaMLP mlp;
    RMSNorm input_layernorm, post_attention_layernorm;

    LlamaDecoderLayer(const LlamaConfig& config, std::shared_ptr<const Context> context, Rng* rng);
    std::string name() const override { return "LlamaDecoderLayer"; }
    std::vector<Member> members() override {
        return {{"self_attn", self_attn},
                {"mlp", mlp},
                {"input_layernorm", input_layernorm},
                {"post_attention_layernorm", post_attention_layernorm}};
    }
    Tensor forward(const Tensor& x) override;
};

// ids [rows] -> [rows, hidden_size], normed: what lm_head sees.
struct LlamaModel : Module {
    ModulePtr embed_tokens;
    Sequential layers{{}};
    RMSNorm norm;
    bool checkpoint_layers = false;  // keep nothing of a layer; backward computes it again

    LlamaModel(const LlamaConfig& config, std::shared_ptr<const Context> context, Rng* rng);
    std::string name() const override { return "LlamaModel"; }
    std::vector<Member> members() override {
        return {{"embed_tokens", embed_tokens}, {"layers", layers}, {"norm", norm}};
    }
    Tensor lookup(std::span<const int> ids) override;
};

struct LlamaForCausalLM : Module {
    const LlamaConfig config;
    std::shared_ptr<Context> context;  // at first as long as max_position_embeddings allows
    LlamaModel model;
    ModulePtr lm_head;

    // Matrices are drawn from N(0, 0.02), as transformers does; without rng they are zeros, to be
    // loaded from a file.
    explicit LlamaForCausalLM(const LlamaConfig& config, Rng* rng = nullptr);

    // Sets the length of the sequences that lookup() is given; at most max_position_embeddings.
    void set_context(int64_t length);

    std::string name() const override { return "LlamaForCausalLM"; }
    std::vector<Member> members() override { return {{"model", model}, {"lm_head", lm_head}}; }

    // ids [rows] -> logits [rows, vocab_size]. The rows are sequences of context->length ids, or
    // one sequence that is shorter.
    Tensor lookup(std::span<const int> ids) override;
};

}  // namespace slim
