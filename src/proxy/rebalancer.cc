#include "proxy/rebalancer.h"

#include <algorithm>

namespace weir::proxy {

TrackHandle StreamTracks::add(TrackList& list, Handle<Exchange> exchange, TimePoint now) {
  TrackHandle handle = tracks_.emplace();
  StreamTrack& t = *tracks_.resolve(handle);
  t.exchange = exchange;
  t.began = now;
  t.previous = list.last;
  if (list.last != UINT32_MAX) at(list.last).next = handle.index;
  list.last = handle.index;
  if (list.first == UINT32_MAX) list.first = handle.index;
  return handle;
}

void StreamTracks::remove(TrackList& list, TrackHandle handle) {
  StreamTrack* t = tracks_.resolve(handle);
  if (t == nullptr) return;
  (t->previous != UINT32_MAX ? at(t->previous).next : list.first) = t->next;
  (t->next != UINT32_MAX ? at(t->next).previous : list.last) = t->previous;
  tracks_.release(handle);
}

namespace {
uint64_t mean_of(std::span<const StreamLoad> loads) {  // rounded up
  uint64_t total = 0;
  for (const StreamLoad& l : loads) total += l.total;
  return loads.empty() ? 0 : (total + loads.size() - 1) / loads.size();
}
}  // namespace

uint32_t streams_to_move(std::span<const StreamLoad> loads) {
  uint64_t mean = mean_of(loads);
  double own_share = 0;
  for (const StreamLoad& l : loads) {
    if (l.total > mean) own_share += static_cast<double>(l.total - mean) * l.own / l.total;
  }
  return static_cast<uint32_t>(own_share + 0.999);
}

int target_to_relieve(std::span<const StreamLoad> loads) {
  uint64_t mean = mean_of(loads);
  uint32_t least = UINT32_MAX;
  int most = -1;
  for (size_t i = 0; i < loads.size(); ++i) {
    least = std::min(least, loads[i].total);
    if (loads[i].own == 0) continue;
    if (most < 0 || loads[i].total > loads[static_cast<size_t>(most)].total) most = static_cast<int>(i);
  }
  if (most < 0) return -1;
  uint32_t total = loads[static_cast<size_t>(most)].total;
  return total > mean && total - least >= 2 ? most : -1;
}

}  // namespace weir::proxy
