#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/formatted.h"
#include "base/log.h"

namespace sluice::train {
namespace {

std::string step_text(const StepReport& r) {
  return formatted("step %ld/%ld  loss %.4f  norm %.3f  lr %.2e  %.0f tok/s  ram %s  disk %s in %s out  %s%s left",
                   static_cast<long>(r.step), static_cast<long>(r.max_steps), r.loss, r.grad_norm, r.lr,
                   r.tokens_per_second, format_bytes(r.resident).c_str(), format_bytes(r.disk_read).c_str(),
                   format_bytes(r.disk_written).c_str(), r.skipped ? "SKIPPED  " : "", format_seconds(r.left).c_str());
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 100;
  return size.ws_col;
}

}  // namespace

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (bar_shown_) std::fputc('\n', stderr);
}

void Progress::step(const StepReport& report) {
  const std::string text = step_text(report);
  if (!terminal_) {
    log_info(text);
    return;
  }
  clear_bar();
  const int width = std::max(8, std::min(24, terminal_width() - static_cast<int>(text.size()) - 4));
  const auto full = static_cast<int>(report.max_steps > 0 ? width * report.step / report.max_steps : 0);
  std::string bar(static_cast<std::size_t>(width), '.');
  std::fill(bar.begin(), bar.begin() + std::min(full, width), '#');
  std::fprintf(stderr, "[%s] %s", bar.c_str(), text.c_str());
  std::fflush(stderr);
  bar_shown_ = true;
}

void Progress::note(const std::string& text) {
  clear_bar();
  log_info(text);
}

void Progress::clear_bar() {
  if (!bar_shown_) return;
  std::fputs("\r\033[K", stderr);
  bar_shown_ = false;
}

}  // namespace sluice::train
