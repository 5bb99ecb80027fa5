// What a worker tells about its streams and frames.
#include <algorithm>

#include "base/log.h"
#include "proxy/flight_recorder.h"
#include "proxy/worker.h"

namespace weir::proxy {

namespace {
constexpr uint32_t kSlotsPerTurn = 1000;
constexpr size_t kScansMax = 4;  // at a time; more are answered with nothing
constexpr uint32_t kFramesAtReset = 32;
constexpr Duration kResetDumpPause = std::chrono::seconds(10);

uint64_t ms(Duration d) { return d.count() <= 0 ? 0 : static_cast<uint64_t>(d.count()) / 1'000'000; }

std::string endpoint(const std::string& address, uint16_t port) {
  bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}
}  // namespace

void Worker::report_streams(const model::StreamsRequest& request, std::move_only_function<void(model::Streams)> done) {
  if (scans_.size() >= kScansMax) return done({request.id, exchanges_.size(), {}});
  scans_.push_back(std::make_unique<StreamScan>(request, std::move(done)));
  if (scans_.size() == 1) scan_slice();
}

void Worker::scan_slice() {
  StreamScan& scan = *scans_.front();
  uint32_t end = std::min(exchanges_.numbers(), scan.next + kSlotsPerTurn);
  for (; scan.next < end; ++scan.next) {
    ExchangeHandle handle = exchanges_.numbered(scan.next);
    Exchange* e = exchanges_.resolve(handle);
    if (e == nullptr) continue;
    ++scan.open;
    model::StreamRow row;
    fill_numbers(*e, handle, row);
    uint64_t value = order_value(scan.request.order, row);
    if (!scan.rows.takes(value)) continue;
    fill_texts(*e, row);
    const std::string& filter = scan.request.filter;
    bool wanted = filter.empty() || row.method.find(filter) != std::string::npos ||
                  row.client.find(filter) != std::string::npos || row.target.find(filter) != std::string::npos;
    if (wanted) scan.rows.add(value, std::move(row));
  }
  if (scan.next < exchanges_.numbers()) return loop_->post([this] { scan_slice(); });
  std::unique_ptr<StreamScan> over = std::move(scans_.front());
  scans_.erase(scans_.begin());
  over->done({over->request.id, over->open, over->rows.take()});
  if (!scans_.empty()) loop_->post([this] { scan_slice(); });
}

void Worker::fill_numbers(Exchange& e, ExchangeHandle handle, model::StreamRow& row) {
  row.key = static_cast<uint64_t>(options_.index) << 56 | (pack(handle) & 0x00ffffffffffffff);
  row.age_ms = ms(now() - e.seen.begun);
  row.idle_ms = ms(now() - e.last_activity);
  row.request_messages = e.seen.request.messages();
  row.response_messages = e.seen.response.messages();
  row.request_bytes = e.request_bytes;
  row.response_bytes = e.response_bytes;
  row.deadline_ms = e.deadline == TimePoint{} ? 0 : std::max<uint64_t>(1, ms(e.deadline - now()));
  row.attempts = e.attempts;
  row.is_grpc = e.is_grpc;
  rates_.fill(exchanges_.number(handle.index), handle.generation, now(), row);
  fill_blocks(e, row);
}

// Who does not take the bytes that wait: the client first, for a response that cannot go stops its target as well.
void Worker::fill_blocks(const Exchange& e, model::StreamRow& row) {
  using Block = model::StreamBlock;
  auto block_of = [](const http::h2::Stream& s, const http::h2::Connection& c, Block window, Block connection) {
    return s.send_window <= 0 ? window : c.send_window() <= 0 || c.output_full() ? connection : Block::None;
  };
  http::h2::Stream* s = streams_.resolve(e.down_stream);
  Downstream* down = downstreams_.resolve(e.down);
  if (s != nullptr && down != nullptr) {
    row.connection = down->connection().trace_id();
    row.stream_id = s->id;
    if (s->pending != nullptr) {
      row.waiting_bytes += s->pending->data.size();
      row.blocked = block_of(*s, down->connection(), Block::ClientWindow, Block::ClientConnection);
    }
  }
  http::h2::Stream* u = streams_.resolve(e.up_stream);
  Upstream* up = upstreams_.resolve(e.up);
  if (u != nullptr && up != nullptr && u->pending != nullptr) {
    row.waiting_bytes += u->pending->data.size();
    if (row.blocked == Block::None) {
      row.blocked = block_of(*u, up->connection(), Block::TargetWindow, Block::TargetConnection);
    }
  }
  if (up == nullptr && !e.response_over) row.blocked = Block::NoTarget;
}

void Worker::fill_texts(const Exchange& e, model::StreamRow& row) {
  row.method = e.is_grpc ? observer_.methods().at(e.seen.method).name : "HTTP/2";
  if (Downstream* down = downstreams_.resolve(e.down)) {
    row.client = endpoint(down->facts().client, down->facts().client_port);
  }
  if (Target* t = targets_.resolve(e.seen.target)) row.target = endpoint(t->address, t->port);
  if (Group* g = groups_.resolve(e.group)) row.group_arn = g->arn;
}

std::vector<std::string> Worker::report_frames(const model::FramesRequest& request) {
  return frame_lines(observer_.trace(), {request.limit, request.connection, request.stream_id}, options_.index, now(),
                     clock_.unix_ms());
}

// The frames before an error, while they are there; not more often than the log can bear.
void Worker::dump_frames(uint32_t connection, uint32_t stream_id, std::string_view why) {
  if (!observer_.trace().enabled() || now() - frames_dumped_ < kResetDumpPause) return;
  frames_dumped_ = now();
  std::string text = "frames before an error worker=" + std::to_string(options_.index) +
                     " connection=" + std::to_string(connection) + " stream=" + std::to_string(stream_id) +
                     " error=" + std::string(why);
  FrameFilter filter{kFramesAtReset, connection, stream_id};
  for (const std::string& line : frame_lines(observer_.trace(), filter, options_.index, now(), clock_.unix_ms())) {
    text += "\n  " + line;
  }
  log_warning(text);
}

void Worker::dump_target_frames(const Exchange& e, http::h2::ErrorCode code) {
  Upstream* up = upstreams_.resolve(e.up);
  http::h2::Stream* s = streams_.resolve(e.up_stream);
  if (up == nullptr || s == nullptr) return;
  dump_frames(up->connection().trace_id(), s->id, http::h2::to_string(code));
}

}  // namespace weir::proxy
