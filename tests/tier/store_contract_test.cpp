// What every store promises, for every row of the catalog and every engine.
#include <thread>

#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

using StoreContract = StoreTest;

TEST_P(StoreContract, ReturnsTheBytesItStored) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  for (const Bytes size : {Bytes{4096}, MiB - 4096, MiB, MiB + 4096, 5 * MiB + 3 * 4096}) {
    const TestBuffer source(size, static_cast<std::uint64_t>(size));
    const TestBuffer target(size);
    const ObjectId object = store->reserve(size, "bytes");
    channel->write(object, 0, source.all());
    channel->read(object, 0, target.all());
    EXPECT_TRUE(same_bytes(source.all(), target.all())) << size << " bytes";
  }
}

TEST_P(StoreContract, WritesInPlace) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const Bytes size = 2 * MiB + 8192;
  const TestBuffer first(size, 1), second(size, 2), target(size);
  const ObjectId object = store->reserve(size, "state");
  channel->write(object, 0, first.all());
  const auto checksum = store->checksum_of(object);
  channel->write(object, 0, second.all());
  channel->read(object, 0, target.all());
  EXPECT_TRUE(same_bytes(second.all(), target.all()));
  EXPECT_NE(store->checksum_of(object), checksum);
  EXPECT_EQ(store->info().used, size);
}

TEST_P(StoreContract, KeepsStripesThatWereNotWritten) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const Bytes size = 3 * MiB + 4096;
  const TestBuffer whole(size, 1), slice(MiB, 2), target(size);
  const ObjectId object = store->reserve(size, "rows");
  channel->write(object, 0, whole.all());
  channel->write(object, MiB, slice.all());
  channel->read(object, 0, target.all());
  EXPECT_TRUE(same_bytes(whole.part(0, MiB), target.part(0, MiB)));
  EXPECT_TRUE(same_bytes(slice.all(), target.part(MiB, MiB)));
  EXPECT_TRUE(same_bytes(whole.part(2 * MiB, MiB + 4096), target.part(2 * MiB, MiB + 4096)));
}

TEST_P(StoreContract, HoldsItsCapacityAndNamesTierAskedAndFree) {
  const auto store = make_store(8 * MiB);
  store->reserve(6 * MiB, "state");
  EXPECT_EQ(store->info().used, 6 * MiB);
  const auto message = message_of<CapacityError>([&] { store->reserve(3 * MiB, "too much"); });
  for (const auto* part : {"[tier.", "3.0 MiB", "2.0 MiB", "too much"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_NE(message.find(store->info().name), std::string::npos) << message;
  EXPECT_EQ(store->info().used, 6 * MiB);
  store->reserve(2 * MiB, "fits");
  EXPECT_EQ(store->info().used, store->info().capacity);
}

TEST_P(StoreContract, CountsTheBytesItMoved) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const TestBuffer buffer(MiB + 4096, 1);
  const ObjectId object = store->reserve(MiB + 4096, "counted");
  channel->write(object, 0, buffer.all());
  channel->read(object, 0, buffer.all());
  channel->read(object, MiB, buffer.part(0, 4096));
  EXPECT_EQ(store->bytes_written(), MiB + 4096);
  EXPECT_EQ(store->bytes_read(), MiB + 8192);
}

TEST_P(StoreContract, HasTheSameChecksumAsTheNullStore) {
  const auto store = make_store();
  const auto reference = make_null_store(64 * MiB);
  const TestBuffer buffer(3 * MiB + 4096, 7);
  std::vector<std::uint64_t> values;
  for (Store* each : {store.get(), reference.get()}) {
    const auto channel = each->open_channel();
    const ObjectId object = each->reserve(3 * MiB + 4096, "same");
    channel->write(object, 0, buffer.all());
    values.push_back(each->checksum_of(object));
  }
  EXPECT_EQ(values[0], values[1]);
}

TEST_P(StoreContract, RefusesRangesThatCutAStripeAndBytesNeverWritten) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const TestBuffer buffer(4 * MiB, 1);
  const ObjectId object = store->reserve(2 * MiB + 4096, "rules");
  EXPECT_THROW(channel->read(object, 0, buffer.part(0, MiB)), InternalError);
  EXPECT_THROW(channel->write(object, 4096, buffer.part(0, MiB)), InternalError);
  EXPECT_THROW(channel->write(object, 0, buffer.part(0, 4096)), InternalError);
  EXPECT_THROW(channel->write(object, 0, buffer.part(0, 4 * MiB)), InternalError);
  EXPECT_THROW(channel->write(object, 0, buffer.part(8, MiB)), InternalError);
  EXPECT_THROW(channel->write(object + 1, 0, buffer.part(0, MiB)), InternalError);
  EXPECT_THROW(store->reserve(5000, "odd"), InternalError);
  EXPECT_THROW(store->reserve(0, "nothing"), InternalError);
  channel->write(object, 2 * MiB, buffer.part(0, 4096));
  channel->read(object, 2 * MiB, buffer.part(0, 4096));
  EXPECT_THROW(channel->read(object, MiB, buffer.part(0, MiB + 4096)), InternalError);  // begins with one never written
  EXPECT_EQ(store->info().used, 2 * MiB + 4096);
}

TEST_P(StoreContract, OneThreadWritesStripesWhileAnotherReadsOthersOfTheSameObject) {
  const auto store = make_store();
  const Bytes half = 2 * MiB, size = 2 * half;
  const ObjectId object = store->reserve(size, "shared");
  const auto writer = store->open_channel();
  const auto reader = store->open_channel();
  TestBuffer source(size, 0);
  const TestBuffer target(size);
  writer->write(object, 0, source.all());
  for (std::uint64_t round = 1; round <= 10; ++round) {
    const Bytes written = round % 2 == 0 ? 0 : half, read = half - written;
    const TestBuffer fresh(half, round);
    std::thread reading([&] { reader->read(object, read, target.part(read, half)); });
    writer->write(object, written, fresh.all());
    reading.join();
    EXPECT_TRUE(same_bytes(source.part(read, half), target.part(read, half))) << "round " << round;
    std::memcpy(source.part(written, half).data(), fresh.all().data(), static_cast<std::size_t>(half));
  }
}

TEST_P(StoreContract, TwoThreadsUseObjectsOfTheirOwnAtOnce) {
  const auto store = make_store();
  const auto work = [&](std::uint64_t seed) {
    const auto channel = store->open_channel();
    TestBuffer source(2 * MiB, seed);
    const TestBuffer target(2 * MiB);
    for (std::uint64_t i = 0; i < 8; ++i) {
      const ObjectId object = store->reserve(2 * MiB, "own");
      source.fill(mix(seed, i));
      channel->write(object, 0, source.all());
      channel->read(object, 0, target.all());
      EXPECT_TRUE(same_bytes(source.all(), target.all()));
    }
  };
  std::thread other(work, 1);
  work(2);
  other.join();
}

TEST_P(StoreContract, BehavesLikePlainMemoryUnderRandomOperations) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  constexpr Bytes kLargest = 4 * MiB;
  struct Model {
    Model(ObjectId object, Bytes bytes) : id(object), size(bytes), expected(bytes, 1) {}
    ObjectId id;
    Bytes size;
    TestBuffer expected;
  };
  std::vector<std::unique_ptr<Model>> models;
  const RandomKey key{.seed = 5, .stream = 0};
  std::uint64_t counter = 0;
  const auto draw = [&](Bytes bound) {
    return static_cast<Bytes>(below(key, ++counter, static_cast<std::uint64_t>(bound)));
  };
  TestBuffer buffer(kLargest);
  for (int i = 0; i < 4; ++i) {
    const Bytes size = 4096 * (1 + draw(kLargest / 4096));
    models.push_back(std::make_unique<Model>(store->reserve(size, "random"), size));
    channel->write(models.back()->id, 0, models.back()->expected.all());
  }
  for (int step = 0; step < 60; ++step) {
    Model& model = *models[static_cast<std::size_t>(draw(4))];
    const Bytes first = draw(round_up(model.size, MiB) / MiB);
    const Bytes last = first + draw(round_up(model.size, MiB) / MiB - first) + 1;
    const Bytes offset = first * MiB;
    const Bytes length = std::min(last * MiB, model.size) - offset;
    if (draw(2) == 0) {
      buffer.fill(counter);
      channel->write(model.id, offset, buffer.part(0, length));
      std::memcpy(model.expected.part(offset, length).data(), buffer.all().data(), static_cast<std::size_t>(length));
    } else {
      channel->read(model.id, offset, buffer.part(0, length));
      ASSERT_TRUE(same_bytes(buffer.part(0, length), model.expected.part(offset, length))) << "step " << step;
    }
  }
}

TEST_P(StoreContract, RegisteredMemoryChangesNothing) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const Bytes size = 2 * MiB + 4096;
  const TestBuffer source(size, 3), target(size);
  channel->register_memory(source.all());
  channel->register_memory(target.all());  // replaces the first
  const ObjectId object = store->reserve(size, "registered");
  channel->write(object, 0, source.all());
  channel->read(object, 0, target.all());
  EXPECT_TRUE(same_bytes(source.all(), target.all()));
}

INSTANTIATE_TEST_SUITE_P(Catalog, StoreContract, testing::ValuesIn(store_cases()), case_name);

TEST(StoreCatalog, KnowsDiskAndNullAndNamesTheNearest) {
  EXPECT_EQ(find_row(store_catalog(), "store", "disk").name, "disk");
  const auto message = message_of<ConfigError>([] { find_row(store_catalog(), "store", "dsk"); });
  EXPECT_NE(message.find("did you mean 'disk'"), std::string::npos) << message;
}

}  // namespace
}  // namespace sluice::tier
