#include "exec/state.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/narrow.h"
#include "base/nf4.h"

namespace sluice::exec {
namespace {

void mark_moved(const plan::Plan& plan, std::vector<char>& stored) {
  for (const plan::Action& action : plan.actions) {
    if (action.kind != plan::ActionKind::Fetch && action.kind != plan::ActionKind::WriteBack) continue;
    for (const plan::Slot& slot : action.slots) {
      if (slot.offset < 0) stored[slot.buffer] = 1;
    }
  }
}

}  // namespace

State::State(const plan::PlanSet& plans, tier::ArenaBases arenas, tier::Store* store, tier::Device* device)
    : buffers_(plans.train.buffers),
      slice_elements_(plans.train.slice_elements),
      arenas_(std::move(arenas)),
      store_(store),
      stripe_(static_cast<std::byte*>(std::aligned_alloc(4096, tier::kStripeBytes)), &std::free),
      objects_(buffers_.size(), -1),
      stored_(buffers_.size(), 1),
      waits_at_(buffers_.size()) {
  if (device != nullptr && !device->is_addressable()) line_ = device->open_line();
  for (const plan::EntryState& entry : plans.train.entry) {
    waits_at_[entry.buffer].push_back({entry.tier, entry.offset});
    stored_[entry.buffer] = entry.clean;
  }
  std::vector<char> moved(buffers_.size(), 0);
  for (const plan::Plan* plan : {&plans.train, &plans.flush, plans.evaluate ? &*plans.evaluate : nullptr}) {
    if (plan != nullptr) mark_moved(*plan, moved);
  }
  for (const plan::Plan& pass : plans.generate) mark_moved(pass, moved);
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const plan::Buffer& buffer = buffers_[i];
    const bool state_outside = buffer.persistent && waits_at_[i].empty();
    stored_[i] = stored_[i] && (moved[i] || state_outside);
    if (!moved[i] && !state_outside) continue;
    SLUICE_CHECK(store_ != nullptr, "the plan moves ", plan::name(buffer.kind), " buffers but there is no store");
    objects_[i] = store_->reserve(buffer.bytes_on_disk(), plan::name(buffer.kind));
  }
  if (store_ != nullptr) channel_ = store_->open_channel();
}

template <typename Visit>
void State::for_each_part(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::int64_t count,
                          Visit visit) {
  std::int64_t visited = 0;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const plan::Buffer& buffer = buffers_[i];
    if (buffer.kind != kind || buffer.chunk != chunk || buffer.moment != moment) continue;
    const std::int64_t begin = std::max(first, buffer.first_element);
    const std::int64_t end = std::min(first + count, buffer.first_element + buffer.num_elements);
    if (begin >= end) continue;
    visit(static_cast<plan::BufferId>(i), begin - buffer.first_element, begin - first, end - begin);
    visited += end - begin;
  }
  SLUICE_CHECK(visited == count, "a range outside chunk ", chunk);
}

void State::write(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<const float> source) {
  for_each_part(kind, chunk, moment, first, static_cast<std::int64_t>(source.size()),
                [&](plan::BufferId buffer, std::int64_t at, std::int64_t from, std::int64_t count) {
                  write(buffer, at * 4, std::as_bytes(source.subspan(from, count)));
                });
}

void State::read(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<float> destination) {
  for_each_part(kind, chunk, moment, first, static_cast<std::int64_t>(destination.size()),
                [&](plan::BufferId buffer, std::int64_t at, std::int64_t from, std::int64_t count) {
                  read(buffer, at * 4, std::as_writable_bytes(destination.subspan(from, count)));
                });
}

void State::put(const Place& place, Bytes offset, std::span<const std::byte> source) {
  std::byte* to = address(place) + offset;
  if (line_ != nullptr && place.tier == 0) {
    line_->copy(to, source.data(), static_cast<Bytes>(source.size()));
  } else {
    std::memcpy(to, source.data(), source.size());
  }
}

void State::get(const Place& place, Bytes offset, std::span<std::byte> destination) {
  const std::byte* from = address(place) + offset;
  if (line_ != nullptr && place.tier == 0) {
    line_->copy(destination.data(), from, static_cast<Bytes>(destination.size()));
  } else {
    std::memcpy(destination.data(), from, destination.size());
  }
}

// Records of NF4 as fp32 numbers, `first` the first of them.
void State::put_widened(const plan::Buffer& buffer, const Place& place, std::int64_t first,
                        std::span<const std::byte> source) {
  constexpr std::int64_t kRecords = 64;
  std::vector<float> wide(static_cast<std::size_t>(kRecords * kNf4Elements));
  const auto records = static_cast<std::int64_t>(source.size()) / kNf4Bytes;
  for (std::int64_t record = 0; record < records; record += kRecords) {
    const std::span<float> part(wide.data(),
                                static_cast<std::size_t>(std::min(kRecords, records - record) * kNf4Elements));
    widen(buffer.stored, source.data() + record * kNf4Bytes, part);
    put(place, (first + record * kNf4Elements) * static_cast<Bytes>(sizeof(float)), std::as_bytes(part));
  }
}

// use(offset, bytes) for runs of fp32 numbers as `format` has them, a stripe at a time; the last one of an odd number
// is padded by the buffer's own end.
template <typename Use>
void State::for_narrowed(NumberFormat format, Bytes offset, std::span<const std::byte> source, Use use) {
  const std::span wide(reinterpret_cast<const float*>(source.data()), source.size() / sizeof(float));
  const Bytes size = stored_bytes(format, 1);
  const auto most = static_cast<std::size_t>(tier::kStripeBytes / size);
  for (std::size_t first = 0; first < wide.size(); first += most) {
    const std::span<const float> part = wide.subspan(first, std::min(most, wide.size() - first));
    narrow(format, part, stripe_.get());
    const Bytes number = offset / static_cast<Bytes>(sizeof(float)) + static_cast<Bytes>(first);
    use(number * size, std::span<const std::byte>(stripe_.get(), part.size() * static_cast<std::size_t>(size)));
  }
}

void State::write(plan::BufferId buffer, Bytes offset, std::span<const std::byte> source) {
  const plan::Buffer& b = buffers_[buffer];
  const auto put_all = [&](Bytes at, std::span<const std::byte> bytes) {
    for (const Place& place : waits_at_[buffer]) put(place, at, bytes);
  };
  const auto store = [&](Bytes at, std::span<const std::byte> bytes) {
    if (stored_[buffer]) channel_->write(objects_[buffer], at, bytes);
  };
  if (b.held == NumberFormat::Fp32) {
    put_all(offset, source);
  } else {
    for_narrowed(b.held, offset, source, put_all);
  }
  if (b.stored == NumberFormat::Fp32) {
    store(offset, source);
  } else if (stored_[buffer]) {
    for_narrowed(b.stored, offset, source, store);
  }
}

// Numbers of fewer bits are read into the end of their memory and widened there.
void State::read(plan::BufferId buffer, Bytes offset, std::span<std::byte> destination) {
  const plan::Buffer& b = buffers_[buffer];
  const bool in_arena = !waits_at_[buffer].empty();
  const NumberFormat format = in_arena ? b.held : b.stored;
  SLUICE_CHECK(format != NumberFormat::Nf4, "NF4 weights are saved by nobody");
  const auto count = static_cast<Bytes>(destination.size() / sizeof(float));
  const Bytes size = stored_bytes(format, 1);
  const bool is_wide = format == NumberFormat::Fp32;
  const Bytes from = is_wide ? offset : offset / static_cast<Bytes>(sizeof(float)) * size;
  const std::span<std::byte> bytes = is_wide ? destination : destination.last(static_cast<std::size_t>(count * size));
  if (in_arena) {
    get(waits_at_[buffer].front(), from, bytes);
  } else {
    read_store(static_cast<std::size_t>(buffer), from, bytes);
  }
  if (is_wide) return;
  widen(format, bytes.data(), {reinterpret_cast<float*>(destination.data()), static_cast<std::size_t>(count)});
}

void State::write_stored(int chunk, Bytes offset, std::span<const std::byte> source) {
  const auto found = std::ranges::find_if(buffers_, [&](const plan::Buffer& buffer) {
    return buffer.kind == plan::BufferKind::Weight && buffer.chunk == chunk;
  });
  const auto buffer = static_cast<plan::BufferId>(found - buffers_.begin());
  SLUICE_CHECK(found->stored == NumberFormat::Nf4, "stored bytes of ", name(found->stored), " weights");
  const Bytes first = offset / kNf4Bytes * kNf4Elements;
  const auto count = static_cast<Bytes>(source.size()) / kNf4Bytes * kNf4Elements;
  SLUICE_CHECK(offset % kNf4Bytes == 0 && static_cast<Bytes>(source.size()) == nf4_bytes(count), "a cut record");
  for (const Place& place : waits_at_[buffer]) put_widened(*found, place, first, source);
  if (!stored_[buffer]) return;
  const Bytes end = nf4_bytes(found->num_elements);
  for (Bytes done = 0; done < static_cast<Bytes>(source.size());) {
    const Bytes in_stripe = (offset + done) % tier::kStripeBytes;
    const Bytes length = std::min(tier::kStripeBytes - in_stripe, static_cast<Bytes>(source.size()) - done);
    std::memcpy(stripe_.get() + in_stripe, source.data() + done, static_cast<std::size_t>(length));
    done += length;
    const Bytes filled = in_stripe + length, begin = offset + done - filled;
    if (filled < tier::kStripeBytes && offset + done < end) return;
    const Bytes whole = std::min(tier::kStripeBytes, found->bytes_on_disk() - begin);  // the last has a page's padding
    std::fill(stripe_.get() + filled, stripe_.get() + whole, std::byte{0});
    channel_->write(objects_[buffer], begin, {stripe_.get(), static_cast<std::size_t>(whole)});
  }
}

void State::read_store(std::size_t buffer, Bytes offset, std::span<std::byte> destination) {
  const auto size = static_cast<Bytes>(destination.size());
  for (Bytes done = 0; done < size;) {
    const Bytes begin = (offset + done) / tier::kStripeBytes * tier::kStripeBytes;
    const Bytes length = std::min(tier::kStripeBytes, buffers_[buffer].bytes_on_disk() - begin);
    channel_->read(objects_[buffer], begin, {stripe_.get(), static_cast<std::size_t>(length)});
    const Bytes skip = offset + done - begin;
    const Bytes count = std::min(length - skip, size - done);
    std::memcpy(destination.data() + done, stripe_.get() + skip, static_cast<std::size_t>(count));
    done += count;
  }
}

}  // namespace sluice::exec
