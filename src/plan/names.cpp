// Text of the plan's enumerators, for reports and traces.
#include "plan/plan.h"

namespace sluice::plan {

const char* name(TierKind kind) {
  switch (kind) {
    case TierKind::Device:
      return "device";
    case TierKind::Host:
      return "host";
    case TierKind::Packed:
      return "packed";
    case TierKind::Disk:
      return "disk";
  }
  return "?";
}

const char* name(BufferKind kind) {
  switch (kind) {
    case BufferKind::Weight:
      return "weight";
    case BufferKind::Moment:
      return "moment";
    case BufferKind::Gradient:
      return "gradient";
    case BufferKind::Boundary:
      return "boundary";
    case BufferKind::BoundaryGradient:
      return "boundary_gradient";
    case BufferKind::Saved:
      return "saved";
    case BufferKind::Scratch:
      return "scratch";
    case BufferKind::Gathered:
      return "gathered weight";
    case BufferKind::Cache:
      return "cache";
    case BufferKind::Residual:
      return "residual";
    case BufferKind::Signs:
      return "signs";
  }
  return "?";
}

const char* name(ActionKind kind) {
  switch (kind) {
    case ActionKind::Fetch:
      return "fetch";
    case ActionKind::Evict:
      return "evict";
    case ActionKind::WriteBack:
      return "write_back";
    case ActionKind::Convert:
      return "convert";
    case ActionKind::Forward:
      return "forward";
    case ActionKind::Backward:
      return "backward";
    case ActionKind::ReduceNorm:
      return "reduce_norm";
    case ActionKind::Update:
      return "update";
    case ActionKind::AllGather:
      return "all_gather";
    case ActionKind::ReduceScatter:
      return "reduce_scatter";
    case ActionKind::AllReduce:
      return "all_reduce";
    case ActionKind::AllToAll:
      return "all_to_all";
    case ActionKind::Broadcast:
      return "broadcast";
    case ActionKind::Send:
      return "send";
    case ActionKind::Recv:
      return "recv";
  }
  return "?";
}

const char* name(Lane lane) {
  switch (lane) {
    case Lane::Compute:
      return "compute";
    case Lane::DiskRead:
      return "disk read";
    case Lane::DiskWrite:
      return "disk write";
    case Lane::HostToDevice:
      return "host to device";
    case Lane::DeviceToHost:
      return "device to host";
    case Lane::Communication:
      return "communication";
  }
  return "?";
}

const char* name(Variant variant) {
  switch (variant) {
    case Variant::Train:
      return "train";
    case Variant::Flush:
      return "flush";
    case Variant::Evaluate:
      return "evaluate";
    case Variant::Generate:
      return "generate";
  }
  return "?";
}

}  // namespace sluice::plan
