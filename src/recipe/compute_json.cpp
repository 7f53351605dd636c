#include "recipe/compute_json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <tuple>
#include <vector>

#include "recipe/object_reader.h"

namespace sluice::recipe {
namespace {

using Json = nlohmann::ordered_json;

Json shapes_json(const std::vector<plan::ShapeRate>& points) {
  Json json = Json::object();
  for (const plan::ShapeRate& point : points)
    json[std::to_string(point.m) + " x " + std::to_string(point.n) + " x " + std::to_string(point.k)] = point.rate;
  return json;
}

Json sizes_json(const std::vector<plan::SizeRate>& points) {
  Json json = Json::object();
  for (const plan::SizeRate& point : points) json[std::to_string(point.bytes)] = point.rate;
  return json;
}

double read_rate(ObjectReader& reader, const std::string& key) { return reader.number(key.c_str(), 1); }

std::vector<plan::ShapeRate> read_shapes(ObjectReader& owner, const char* key) {
  std::vector<plan::ShapeRate> points;
  if (!owner.has(key)) return points;
  const nlohmann::json& json = owner.find(key);
  ObjectReader reader(json, owner.where() + "." + key);
  for (const auto& [shape, value] : json.items()) {
    long long m = 0, n = 0, k = 0;
    int length = 0;
    const bool read = std::sscanf(shape.c_str(), "%lld x %lld x %lld%n", &m, &n, &k, &length) == 3 &&
                      length == static_cast<int>(shape.size()) && m > 0 && n > 0 && k > 0;
    if (!read) reader.fail(shape, "a shape like '512 x 576 x 1536' as the key");
    points.push_back({m, n, k, read_rate(reader, shape)});
  }
  std::ranges::sort(points, [](const plan::ShapeRate& a, const plan::ShapeRate& b) {
    return std::tie(a.m, a.n, a.k) < std::tie(b.m, b.n, b.k);  // JSON orders keys as text
  });
  return points;
}

std::vector<plan::SizeRate> read_sizes(ObjectReader& owner, const char* key) {
  std::vector<plan::SizeRate> points;
  if (!owner.has(key)) return points;
  const nlohmann::json& json = owner.find(key);
  ObjectReader reader(json, owner.where() + "." + key);
  for (const auto& [size, value] : json.items()) {
    Bytes bytes = 0;
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), bytes);
    if (error != std::errc() || end != size.data() + size.size() || bytes <= 0)
      reader.fail(size, "a number of bytes as the key");
    points.push_back({bytes, read_rate(reader, size)});
  }
  std::ranges::sort(points, {}, &plan::SizeRate::bytes);
  return points;
}

}  // namespace

Json compute_json(const plan::ComputeRate& rate) {
  return {{"matmul_flops", rate.matmul},
          {"bf16_matmul_flops", rate.narrow_matmul},
          {"attention_flops", rate.attention},
          {"memory_bytes_per_second", rate.memory},
          {"launch_seconds", rate.launch},
          {"products", shapes_json(rate.products)},
          {"bf16_products", shapes_json(rate.narrow_products)},
          {"attention_forward", shapes_json(rate.attention_forward)},
          {"attention_backward", shapes_json(rate.attention_backward)},
          {"memory_by_size", sizes_json(rate.memory_by_size)}};
}

plan::ComputeRate read_compute(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  plan::ComputeRate rate{.matmul = reader.number("matmul_flops", 1),
                         .attention = reader.number("attention_flops", 1),
                         .memory = reader.number("memory_bytes_per_second", 1),
                         .launch = reader.number("launch_seconds", 0, 60)};
  rate.narrow_matmul = reader.number_or("bf16_matmul_flops", 0, 0);
  rate.products = read_shapes(reader, "products");
  rate.narrow_products = read_shapes(reader, "bf16_products");
  rate.attention_forward = read_shapes(reader, "attention_forward");
  rate.attention_backward = read_shapes(reader, "attention_backward");
  rate.memory_by_size = read_sizes(reader, "memory_by_size");
  reader.finish();
  return rate;
}

Json contention_json(const plan::Contention& contention) {
  return {{"compute_beside_read", contention.compute_beside_read},
          {"compute_beside_write", contention.compute_beside_write},
          {"compute_beside_both", contention.compute_beside_both},
          {"read_beside_compute", contention.read_beside_compute},
          {"write_beside_compute", contention.write_beside_compute}};
}

plan::Contention read_contention(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  const auto share = [&](const char* key) { return reader.number_or(key, 1, 0.01, 1); };
  const plan::Contention contention{.compute_beside_read = share("compute_beside_read"),
                                    .compute_beside_write = share("compute_beside_write"),
                                    .compute_beside_both = share("compute_beside_both"),
                                    .read_beside_compute = share("read_beside_compute"),
                                    .write_beside_compute = share("write_beside_compute")};
  reader.finish();
  return contention;
}

}  // namespace sluice::recipe
