#include "data/catalog.h"

#include "data/byte_bpe.h"
#include "data/byte_tokenizer.h"
#include "data/char_tokenizer.h"
#include "data/example_dataset.h"
#include "data/text_dataset.h"
#include "data/tokenized_dataset.h"

namespace sluice::data {

std::span<const CatalogRow<TokenizerMaker>> tokenizer_rows() {
  static constexpr CatalogRow<TokenizerMaker> rows[] = {
      {"byte_bpe",
       "byte-pair encoding from tokenizer.json or GGUF (GPT-2, Llama 3, Qwen, SmolLM)",
       {"BPE", &make_byte_bpe}},
      {"byte", "the 256 bytes; needs no file", {"", &make_byte_tokenizer, &build_byte_tokenizer}},
      {"char",
       "one token per character of the training text, sorted (as nanoGPT's character data)",
       {"WordLevel", &make_char_tokenizer, &build_char_tokenizer, true}},
  };
  return rows;
}

std::span<const CatalogRow<DatasetMaker>> dataset_rows() {
  static constexpr CatalogRow<DatasetMaker> rows[] = {
      {"tokenized",
       "safetensors with input_ids [rows, seq], optional labels and attention_mask",
       {&recognises_tokenized, &open_tokenized}},
      {"chat",
       "{\"messages\": [{\"role\", \"content\"}]} per line; targets are the assistant's turns",
       {&recognises_chat, &open_chat}},
      {"sharegpt", "{\"conversations\": [{\"from\", \"value\"}]} per line", {&recognises_sharegpt, &open_sharegpt}},
      {"alpaca",
       "{\"instruction\", \"input\", \"output\"} per line or in an array",
       {&recognises_alpaca, &open_alpaca}},
      {"completion",
       "{\"prompt\", \"completion\"} per line; targets are the completion's tokens",
       {&recognises_completion, &open_completion}},
      {"text_jsonl",
       "JSON lines {\"text\": ...}, one document per line",
       {&recognises_text_jsonl, &open_text_jsonl, &visit_text_jsonl}},
      {"text",
       "UTF-8 text: a file is one document, a folder has one per .txt file",
       {&recognises_text, &open_text, &visit_text}},
  };
  return rows;
}

}  // namespace sluice::data
