"""The architectures that are known, one record a family; of several records of one family the first that fits holds.

Flows in: nothing. Flows out: ``ROLES``. How each family really computes is its own code's business.
"""

from __future__ import annotations

from dataclasses import replace

from mi.core.roles import Roles

GPT2 = Roles(
    families=("gpt2",),
    embed="transformer.wte",
    position="transformer.wpe",
    blocks="transformer.h",
    attention_norm="ln_1",
    queries_keys_values=("attn.c_attn",),
    heads_out="attn.c_proj",
    mlp_norm="ln_2",
    mlp="mlp",
    mlp_reads=("mlp.c_fc",),
    activation="mlp.act",
    final_norm="transformer.ln_f",
    unembed="lm_head",
    centred=True,
    when=(("add_cross_attention", False),),
)

GPT_NEO = replace(
    GPT2,
    families=("gpt_neo",),
    queries_keys_values=("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
    heads_out="attn.attention.out_proj",
    implementation="eager",
    mixer="attn.attention",
    when=(),
)

GPT_J = replace(
    GPT2,
    families=("gptj",),
    position=None,
    queries_keys_values=("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    heads_out="attn.out_proj",
    mlp_norm="ln_1",
    mlp_reads=("mlp.fc_in",),
    parallel=True,
    implementation="eager",
    mixer="attn",
    when=(),
)

GPT_NEOX = Roles(
    families=("gpt_neox",),
    embed="gpt_neox.embed_in",
    blocks="gpt_neox.layers",
    attention_norm="input_layernorm",
    queries_keys_values=("attention.query_key_value",),
    interleaved=True,
    heads_out="attention.dense",
    mlp_norm="post_attention_layernorm",
    mlp="mlp",
    mlp_reads=("mlp.dense_h_to_4h",),
    activation="mlp.act",
    final_norm="gpt_neox.final_layer_norm",
    unembed="lm_head",
    centred=True,
    parallel=True,
    when=(("use_parallel_residual", True),),
)

OPT = Roles(
    families=("opt",),
    embed="model.decoder.embed_tokens",
    position="model.decoder.embed_positions",
    position_offset=2,
    blocks="model.decoder.layers",
    attention_norm="self_attn_layer_norm",
    queries_keys_values=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    heads_out="self_attn.out_proj",
    mlp_norm="final_layer_norm",
    mlp_in="fc1",
    mlp="fc2",
    mlp_reads=("fc1",),
    activation="activation_fn",
    side_by_side=("final_layer_norm", "fc1", "activation_fn", "fc2"),
    final_norm="model.decoder.final_layer_norm",
    unembed="lm_head",
    centred=True,
    when=(("do_layer_norm_before", True),),  # the other order normalises the residual stream itself
    absent=("model.decoder.project_in", "model.decoder.project_out"),
)

LLAMA = Roles(
    families=("llama", "mistral", "qwen2", "qwen3"),
    embed="model.embed_tokens",
    blocks="model.layers",
    attention_norm="input_layernorm",
    queries_keys_values=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    heads_out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    mlp="mlp",
    mlp_reads=("mlp.gate_proj", "mlp.up_proj"),
    activation="mlp.act_fn",
    product="mlp.down_proj",
    final_norm="model.norm",
    unembed="lm_head",
    centred=False,
)

# A layer's experts and their router are one node; some layers of Qwen3-MoE may have a plain MLP instead.
EXPERTS = replace(LLAMA, families=("mixtral", "qwen3_moe"), mlp_reads=(), activation=None, product=None)

GEMMA = replace(LLAMA, families=("gemma",), unit_offset=True)

GEMMA_2 = replace(
    GEMMA,
    families=("gemma2", "gemma3_text"),
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    logit_cap="final_logit_softcapping",
)

# Text and images in one model, of which the text's part is run.
GEMMA_3 = replace(
    GEMMA_2,
    families=("gemma3",),
    embed="model.language_model.embed_tokens",
    blocks="model.language_model.layers",
    final_norm="model.language_model.norm",
)

PHI_3 = replace(
    LLAMA,
    families=("phi3",),
    queries_keys_values=("self_attn.qkv_proj",),
    ungroup=(("self_attn.num_key_value_heads", None),),
    mlp_reads=("mlp.gate_up_proj",),
    activation="mlp.activation_fn",
)

OLMO_2 = replace(
    LLAMA,
    families=("olmo2",),
    attention_norm=None,
    mlp_norm=None,
    attention_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    key_norm="self_attn.k_norm",
)

STABLELM = replace(
    LLAMA,
    families=("stablelm",),
    centred=True,
    ungroup=(("self_attn.num_key_value_heads", None),),
    key_norm="self_attn.k_layernorm",
    key_norm_axis=1,
    when=(("use_parallel_residual", False),),
)

FALCON = Roles(
    families=("falcon",),
    embed="transformer.word_embeddings",
    blocks="transformer.h",
    attention_norm="input_layernorm",
    queries_keys_values=("self_attention.query_key_value",),
    interleaved=True,
    ungroup=(("self_attention.num_kv_heads", None), ("self_attention.multi_query", False)),
    heads_out="self_attention.dense",
    mlp_norm="input_layernorm",
    mlp="mlp",
    mlp_reads=("mlp.dense_h_to_4h",),
    activation="mlp.act",
    final_norm="transformer.ln_f",
    unembed="lm_head",
    centred=True,
    parallel=True,
    implementation="sdpa",
    overwritten=("mlp",),
    when=(("new_decoder_architecture", False), ("parallel_attn", True)),
)


ROLES = (
    GPT2,
    GPT_NEO,
    GPT_J,
    GPT_NEOX,
    replace(GPT_NEOX, parallel=False, when=(("use_parallel_residual", False),)),
    OPT,
    LLAMA,
    EXPERTS,
    GEMMA,
    GEMMA_2,
    GEMMA_3,
    PHI_3,
    OLMO_2,
    STABLELM,
    replace(STABLELM, mlp_norm="input_layernorm", parallel=True, when=(("use_parallel_residual", True),)),
    FALCON,
    replace(
        FALCON,
        mlp_norm="post_attention_layernorm",
        parallel=False,
        overwritten=(),
        when=(("new_decoder_architecture", False), ("parallel_attn", False)),
    ),
    replace(
        FALCON,
        attention_norm="ln_attn",
        mlp_norm="ln_mlp",
        mlp_norm_first=True,
        when=(("new_decoder_architecture", True), ("num_ln_in_parallel_attn", 2)),
    ),
    replace(FALCON, when=(("new_decoder_architecture", True), ("num_ln_in_parallel_attn", 1))),
)
