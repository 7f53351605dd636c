#include "model/place.h"

#include "base/check.h"

namespace sluice::model {
namespace {

ComputePlace g_place;

}  // namespace

void compute_at(const ComputePlace& place) {
  SLUICE_CHECK(place.operators == Operators::Torch || place.device.is_cpu(), "row kernels run on the CPU, not on ",
               place.device.str());
  g_place = place;
}

const ComputePlace& compute_place() { return g_place; }

}  // namespace sluice::model
