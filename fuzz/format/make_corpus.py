#!/usr/bin/env python3
"""Makes the seeds of the fuzzers of src/format: small valid files and near misses. Run in this folder; needs no packages."""
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).parent / "corpus"


def put(kind, name, data):
    folder = ROOT / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(header, size):
    text = header if isinstance(header, str) else json.dumps(header)
    return struct.pack("<Q", len(text)) + text.encode() + bytes(size)


def row(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


put("safetensors", "empty", safetensors({}, 0))
put("safetensors", "two", safetensors({"__metadata__": {"format": "pt"}, "a": row("F32", [2], 0, 8), "b": row("BF16", [1, 2], 8, 12)}, 12))
put("safetensors", "scalar", safetensors({"s": row("I64", [], 0, 8)}, 8))
put("safetensors", "zero", safetensors({"z": row("F16", [0, 3], 0, 0)}, 0))
put("safetensors", "overlap", safetensors({"a": row("U8", [2], 0, 2), "b": row("U8", [2], 1, 3)}, 3))
put("safetensors", "wrap", safetensors({"a": row("F32", [2**32, 2**32], 0, 0)}, 0))
put("safetensors", "twice", safetensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1))

put("hjson", "json", '{"a": [1, -2.5e-3, true, null, "x\\"\\u00e4\\n"], "b": {"c": {}}, "d": 5e8}\n')
put("hjson", "by_hand", "# one\nstage: 3 // three\n'path': /local_nvme # 1\nlist: [1, 2,\n3\n] /* end */\n"
    "text: '''\n  one\n    two\n  '''\ninner: {on: true,}\n")
put("hjson", "broken", '{"a": {"b": [1, 2, "c')
put("shard_index", "two", json.dumps({"metadata": {"total_size": 12}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}))
put("shard_index", "escape", json.dumps({"weight_map": {"a": "../secret"}}))
put("shard_index", "twice", '{"weight_map":{"a":"x","a":"y"}}')

llama = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": [2, 3], "tie_word_embeddings": True,
}
scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
put("model_config", "llama", json.dumps(llama))
put("model_config", "llama3", json.dumps({**llama, "rope_scaling": scaling}))
put("model_config", "version5", json.dumps({**llama, "rope_parameters": {**scaling, "rope_theta": 10000.0}}))
put("model_config", "mistral", json.dumps({**llama, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}))
put("model_config", "huge", json.dumps({**llama, "vocab_size": 2**63}))


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


class Gguf:
    def __init__(self):
        self.keys, self.infos, self.data, self.num_keys, self.num_tensors = b"", b"", b"", 0, 0

    def key(self, name, kind, value):
        self.keys += text(name) + struct.pack("<I", kind) + value
        self.num_keys += 1
        return self

    def u32(self, name, value):
        return self.key(name, 4, struct.pack("<I", value))

    def f32(self, name, value):
        return self.key(name, 6, struct.pack("<f", value))

    def string(self, name, value):
        return self.key(name, 8, text(value))

    def strings(self, name, values):
        return self.key(name, 9, struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values)))

    def tensor(self, name, dims, kind, size):
        self.infos += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        self.infos += struct.pack("<IQ", kind, len(self.data))
        self.data += bytes((size + 31) // 32 * 32)
        self.num_tensors += 1
        return self

    def bytes(self, num_tensors=None):
        count = self.num_tensors if num_tensors is None else num_tensors
        head = b"GGUF" + struct.pack("<IQQ", 3, count, self.num_keys) + self.keys + self.infos
        return head + bytes(-len(head) % 32) + self.data


def tiny():
    return (
        Gguf().string("general.architecture", "llama").u32("llama.block_count", 1).u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32).u32("llama.feed_forward_length", 16).u32("llama.attention.head_count", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5).f32("llama.rope.freq_base", 10000.0)
        .string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm")
        .strings("tokenizer.ggml.tokens", ["<s>", "a", "b", "ab"]).strings("tokenizer.ggml.merges", ["a b"])
        .key("tokenizer.ggml.token_type", 9, struct.pack("<IQ4i", 5, 4, 3, 1, 1, 1)).u32("tokenizer.ggml.bos_token_id", 0)
        .tensor("token_embd.weight", [32, 4], 8, 4 * 34).tensor("blk.0.attn_q.weight", [32, 32], 3, 32 * 20)
    )


put("gguf", "empty", Gguf().bytes())
put("gguf", "llama", tiny().bytes())
put("gguf", "llama3", tiny().tensor("rope_freqs.weight", [8], 0, 32).bytes())
put("gguf", "counts", tiny().bytes(num_tensors=2**63))
put("gguf", "wrap", Gguf().tensor("t", [2**40, 2**40], 0, 0).bytes())
put("gguf", "alignment", Gguf().u32("general.alignment", 3).bytes())
