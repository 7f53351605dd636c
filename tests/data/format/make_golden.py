#!/usr/bin/env python3
"""Makes the golden files of tests/format with the Python packages torch, safetensors and gguf. Run in this folder."""
import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from safetensors.torch import save_file

rng = np.random.default_rng(20240607)


def tensors():
    values = torch.from_numpy(rng.standard_normal((3, 5)).astype(np.float32))
    save_file(
        {
            "f32": values,
            "bf16": values.to(torch.bfloat16),
            "f16": values.to(torch.float16),
            "i64": torch.arange(6, dtype=torch.int64).reshape(2, 3),
            "i32": torch.tensor([-1, 7], dtype=torch.int32),
            "bool": torch.tensor([True, False, True]),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 4),
        },
        "python.safetensors",
        metadata={"format": "pt", "note": "made by the reference writer"},
    )
    # What narrowing must give: random bit patterns, ties and the edges of both types.
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    halves = np.arange(0, 65536, 7, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[np.isfinite(halves)].view(np.uint32) + 0x1000).astype(np.uint32)
    edges = np.array([0.0, -0.0, 65504.0, 65519.9, 65520.0, 1e-8, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, np.inf, -np.inf, 3.4e38], np.float32)
    source = np.concatenate([bits.view(np.float32), ties.view(np.float32), edges])
    source = source[~np.isnan(source)]
    source = torch.from_numpy(source.copy())
    save_file({"source": source, "f16": source.to(torch.float16), "bf16": source.to(torch.bfloat16)}, "narrow.safetensors")


def blocks():
    out = {}
    halves = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q6_K": [208]}
    for name in ["F32", "F16", "BF16", *halves]:
        kind = Q[name]
        per_block, size = gguf.GGML_QUANT_SIZES[kind]
        count = 24 if per_block == 256 else 96
        raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
        if name in ("F32", "F16", "BF16"):
            plain = (rng.standard_normal((count, 1)) * 3).astype(np.float32)
            raw = {"F32": plain, "F16": plain.astype(np.float16), "BF16": gguf.quants.quantize(plain, Q.BF16)}[name].view(np.uint8).reshape(count, size).copy()
        for offset in halves.get(name, []):
            scale = (rng.standard_normal(count) * 10.0 ** rng.integers(-7, 3, count)).astype(np.float16)
            raw[:, offset : offset + 2] = scale.view(np.uint8).reshape(count, 2)
        if name == "F32":
            values = raw.view(np.float32)
        elif name == "F16":
            values = raw.view(np.float16).astype(np.float32)
        else:
            values = gguf.quants.dequantize(raw, kind)
        out[name + ".raw"] = torch.from_numpy(raw.reshape(-1).copy())
        out[name + ".values"] = torch.from_numpy(np.ascontiguousarray(values, np.float32).reshape(-1).copy())
    save_file(out, "blocks.safetensors")


def permute(weights, heads):
    """What the converter of llama.cpp does to q and k of llama models."""
    rows = weights.shape[0]
    return weights.reshape(heads, 2, rows // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def byte_alphabet():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, extra = {}, 0
    for byte in range(256):
        table[byte] = chr(byte) if byte in kept else chr(0x100 + extra)
        extra += byte not in kept
    return [table[byte] for byte in range(256)]


def model():
    hidden, inter, heads, kv, vocab = 64, 96, 4, 2, 288
    writer = gguf.GGUFWriter("llama.gguf", "llama")
    writer.add_name("golden")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inter)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_vocab_size(vocab)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + byte_alphabet() + ["he", "ll", "hell", "hello"]
    types = [3, 3, 3] + [1] * 260
    while len(tokens) < vocab:
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["h e", "l l", "he ll", "hell o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")

    expected = {}

    def put(gguf_name, hf_name, shape, kind, permuted_heads=0):
        weights = rng.standard_normal(shape).astype(np.float32)
        stored = permute(weights, permuted_heads) if permuted_heads else weights
        if kind == Q.F32:
            writer.add_tensor(gguf_name, stored)
            expected[hf_name] = torch.from_numpy(weights)
            return
        raw = gguf.quants.quantize(stored, kind)
        writer.add_tensor(gguf_name, raw, raw_dtype=kind)
        back = gguf.quants.dequantize(raw, kind).reshape(shape)
        if permuted_heads:  # undo: the inverse permutation swaps the other way round
            rows = shape[0]
            back = back.reshape(permuted_heads, rows // permuted_heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        expected[hf_name] = torch.from_numpy(np.ascontiguousarray(back))

    put("token_embd.weight", "model.embed_tokens.weight", (vocab, hidden), Q.Q8_0)
    for i, kind in enumerate([Q.Q4_1, Q.Q4_0]):
        layer, blk = f"model.layers.{i}.", f"blk.{i}."
        put(blk + "attn_norm.weight", layer + "input_layernorm.weight", (hidden,), Q.F32)
        put(blk + "ffn_norm.weight", layer + "post_attention_layernorm.weight", (hidden,), Q.F32)
        put(blk + "attn_q.weight", layer + "self_attn.q_proj.weight", (hidden, hidden), kind, heads)
        put(blk + "attn_k.weight", layer + "self_attn.k_proj.weight", (hidden // 2, hidden), kind, kv)
        put(blk + "attn_v.weight", layer + "self_attn.v_proj.weight", (hidden // 2, hidden), Q.F16)
        put(blk + "attn_output.weight", layer + "self_attn.o_proj.weight", (hidden, hidden), Q.BF16)
        put(blk + "ffn_gate.weight", layer + "mlp.gate_proj.weight", (inter, hidden), kind)
        put(blk + "ffn_up.weight", layer + "mlp.up_proj.weight", (inter, hidden), Q.F32)
        put(blk + "ffn_down.weight", layer + "mlp.down_proj.weight", (hidden, inter), kind)
    put("output_norm.weight", "model.norm.weight", (hidden,), Q.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, "llama_expected.safetensors")


tensors()
blocks()
model()
