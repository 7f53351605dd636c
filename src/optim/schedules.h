// What stands behind the rows of the catalog of schedules, and the ratio that all of them use. Private to optim.
#pragma once
#include <algorithm>

#include "optim/schedule.h"

namespace sluice::optim {

ScheduleFactory constant_schedule();
ScheduleFactory linear_schedule();
ScheduleFactory cosine_schedule();
ScheduleFactory cosine_with_min_lr_schedule();
ScheduleFactory cosine_warmup_with_min_lr_schedule();
ScheduleFactory cosine_with_restarts_schedule();
ScheduleFactory polynomial_schedule();
ScheduleFactory inverse_sqrt_schedule();
ScheduleFactory warmup_stable_decay_schedule();
ScheduleFactory wsd_schedule();
ScheduleFactory warmup_lr_schedule();
ScheduleFactory warmup_decay_lr_schedule();
ScheduleFactory warmup_cosine_lr_schedule();
ScheduleFactory one_cycle_schedule();
ScheduleFactory lr_range_test_schedule();

/// part / max(1, whole).
inline double step_ratio(double part, double whole) { return part / std::max(1.0, whole); }

}  // namespace sluice::optim
