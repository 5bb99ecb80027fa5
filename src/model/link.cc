#include "model/link.h"

#include <cstring>
#include <type_traits>

namespace weir::model {

namespace {

// One description of each structure serves both directions: Writer and Reader have the same interface.
class Writer {
 public:
  std::string out;
  template <class T>
  void number(const T& value) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& value) {
    number(static_cast<uint32_t>(value.size()));
    out.append(value);
  }
  template <class T, class F>
  void list(const std::vector<T>& values, F&& each) {
    number(static_cast<uint32_t>(values.size()));
    for (const T& value : values) each(*this, value);
  }
  template <class E>
  void enumerator(const E& value, E) {
    number(value);
  }
  template <class F>
  void structure(F&& members) {
    size_t start = out.size();
    number(uint32_t{0});
    members();
    auto size = static_cast<uint32_t>(out.size() - start - sizeof(uint32_t));
    std::memcpy(out.data() + start, &size, sizeof size);
  }
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> in) : in_(in) {}
  bool ok = true;
  template <class T>
  void number(T& value) {
    if (in_.empty() && nested_ > 0) return;  // from an older peer: the default stays
    if (!take(sizeof value)) return;
    std::memcpy(&value, in_.data() - sizeof value, sizeof value);
  }
  void number(bool& value) {
    uint8_t byte = value;
    number(byte);
    value = byte != 0;
  }
  void text(std::string& value) {
    if (in_.empty() && nested_ > 0) return;
    uint32_t size = 0;
    number(size);
    if (!take(size)) return;
    value.assign(reinterpret_cast<const char*>(in_.data()) - size, size);
  }
  template <class T, class F>
  void list(std::vector<T>& values, F&& each) {
    if (in_.empty() && nested_ > 0) return;
    uint32_t count = 0;
    number(count);
    for (uint32_t i = 0; i < count && ok; ++i) {  // a false count ends with the bytes
      ok = !in_.empty();
      if (!ok) return;
      values.emplace_back();
      each(*this, values.back());
    }
  }
  template <class E>
  void enumerator(E& value, E last) {
    number(value);
    if (value > last) ok = false;
  }
  template <class F>
  void structure(F&& members) {
    if (in_.empty() && nested_ > 0) return;
    uint32_t size = 0;
    number(size);
    if (!take(size)) return;
    std::span<const uint8_t> behind = in_;
    in_ = {in_.data() - size, size};
    ++nested_;
    members();
    --nested_;
    in_ = behind;
  }
  bool at_end() const { return in_.empty(); }

 private:
  bool take(size_t size) {
    if (!ok || in_.size() < size) {
      ok = false;
      return false;
    }
    in_ = in_.subspan(size);
    return true;
  }
  std::span<const uint8_t> in_;
  int nested_ = 0;
};

constexpr auto each_text = [](auto& io, auto& value) { io.text(value); };
constexpr auto each_pair = [](auto& io, auto& pair) {
  io.text(pair.name);
  io.text(pair.value);
};

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, Target>
{
  io.structure([&] {
    io.text(v.address);
    io.number(v.port);
    io.number(v.draining);
    io.number(v.drain_elapsed_ms);
    io.enumerator(v.last_state, TargetState::Draining);
    io.text(v.zone);
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, HealthCheck>
{
  io.structure([&] {
    io.text(v.path);
    io.number(v.port);
    io.number(v.interval_ms);
    io.number(v.timeout_ms);
    io.number(v.healthy_threshold);
    io.number(v.unhealthy_threshold);
    io.text(v.grpc_codes);
    io.text(v.http_codes);
    io.number(v.evaluate_payload);
    io.number(v.tls);
    io.text(v.service);
    io.list(v.metadata, each_pair);
    io.number(v.watch);
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, TargetGroup>
{
  io.structure([&] {
    io.text(v.arn);
    io.enumerator(v.protocol_version, ProtocolVersion::Http2);
    io.enumerator(v.algorithm, Algorithm::WeightedRandom);
    io.number(v.deregistration_delay_ms);
    io.number(v.in_use);
    fields(io, v.health_check);
    io.list(v.targets, [](auto& i, auto& t) { fields(i, t); });
    io.number(v.tls);
    io.number(v.slow_start_ms);
    io.number(v.anomaly_mitigation);
    io.number(v.healthy_count_min);
    io.number(v.healthy_percent_min);
    io.number(v.drain_ends_when_idle);
    io.number(v.stream_idle_ms);
    io.structure([&] {
      io.number(v.retry.grpc_codes);
      io.number(v.retry.attempts_max);
      io.number(v.retry.budget_percent);
    });
    io.structure([&] {
      io.number(v.outlier.enabled);
      io.number(v.outlier.grpc_codes);
      io.number(v.outlier.consecutive_failures);
      io.number(v.outlier.base_ejection_ms);
      io.number(v.outlier.ejected_percent_max);
    });
    io.enumerator(v.placement, Placement::Rate);
    io.structure([&] {
      io.number(v.rebalancing.enabled);
      io.number(v.rebalancing.streams_per_second);
      io.number(v.rebalancing.age_ms_min);
    });
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, Action>
{
  io.structure([&] {
    io.enumerator(v.kind, Action::Kind::FixedResponse);
    io.list(v.groups, [](auto& i, auto& g) {
      i.structure([&] {
        i.text(g.target_group_arn);
        i.number(g.weight);
      });
    });
    io.number(v.status);
    io.text(v.content_type);
    io.text(v.body);
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, Rule>
{
  io.structure([&] {
    io.number(v.priority);
    io.list(v.conditions, [](auto& i, auto& c) {
      i.structure([&] {
        i.enumerator(c.field, Condition::Field::SourceIp);
        i.text(c.name);
        i.list(c.values, each_text);
        i.list(c.query, each_pair);
        i.list(c.regex_values, each_text);
      });
    });
    fields(io, v.action);
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, Listener>
{
  io.structure([&] {
    io.text(v.arn);
    io.number(v.port);
    io.number(v.tls);
    io.text(v.ssl_policy);
    io.list(v.certificates, [](auto& i, auto& c) {
      i.structure([&] {
        i.text(c.arn);
        i.text(c.chain_pem);
        i.text(c.key_pem);
        i.list(c.names, each_text);
      });
    });
    io.list(v.rules, [](auto& i, auto& r) { fields(i, r); });
    fields(io, v.default_action);
    io.number(v.server_header);
    io.list(v.response_headers, each_pair);
    io.list(v.renamed_headers, each_pair);
  });
}

constexpr auto files_of_log = [](auto& io, auto& log) {
  io.structure([&] {
    io.text(log.directory);
    io.text(log.prefix);
  });
};

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, RoutingSnapshot>
{
  io.structure([&] {
    io.number(v.generation);
    io.text(v.load_balancer_arn);
    io.number(v.strict_alb);
    io.number(v.idle_timeout_ms);
    io.number(v.client_keep_alive_ms);
    io.number(v.ingress_checked);
    io.list(v.ingress, [](auto& i, auto& r) {
      i.structure([&] {
        i.text(r.cidr);
        i.number(r.from_port);
        i.number(r.to_port);
      });
    });
    io.list(v.listeners, [](auto& i, auto& l) { fields(i, l); });
    io.list(v.groups, [](auto& i, auto& g) { fields(i, g); });
    io.number(v.preserve_host);
    io.enumerator(v.forwarded_for, ForwardedFor::Remove);
    io.number(v.forwarded_for_port);
    io.number(v.tls_headers);
    io.number(v.drop_invalid_headers);
    io.number(v.requests_per_connection_max);
    io.number(v.client_streams_max);
    io.number(v.ping_counts_as_life);
    io.number(v.adaptive_windows);
    for (auto* log : {&v.access_log, &v.connection_log}) files_of_log(io, *log);
    io.enumerator(v.log_format, LogFormat::Json);
    io.number(v.record_frames);
    io.number(v.slow_reader_ms);
    files_of_log(io, v.health_check_log);
  });
}

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, ListenerSocket>
{
  io.structure([&] {
    io.text(v.listener_arn);
    io.text(v.address);
    io.number(v.bound_port);
    io.number(v.vpc_side);
  });
}

constexpr auto each_metric = [](auto& io, auto& m) {
  io.structure([&] {
    io.text(m.name);
    io.number(m.value);
    io.number(m.gauge);
  });
};

template <class IO, class T>
void fields(IO& io, T& v)
  requires std::is_same_v<std::remove_const_t<T>, HistogramStats>
{
  io.structure([&] {
    io.number(v.count);
    io.number(v.sum_micros);
    io.list(v.buckets, [](auto& i, auto& b) {
      i.structure([&] {
        i.number(b.index);
        i.number(b.count);
      });
    });
  });
}

template <class IO, class T>
void fields(IO& io, T& m)
  requires std::is_same_v<std::remove_const_t<T>, Stats>
{
  io.number(m.connections);
  io.number(m.connections_total);
  io.number(m.streams);
  io.number(m.requests_total);
  io.list(m.targets, [](auto& i, auto& t) {
    i.structure([&] {
      i.text(t.group_arn);
      i.text(t.address);
      i.number(t.port);
      i.number(t.requests);
      i.number(t.failed);
      i.number(t.outstanding);
    });
  });
  io.list(m.metrics, each_metric);
  io.list(m.groups, [](auto& i, auto& g) {
    i.structure([&] {
      i.text(g.group_arn);
      i.text(g.zone);
      i.list(g.metrics, each_metric);
      fields(i, g.response_time);
    });
  });
  io.list(m.methods, [](auto& i, auto& t) {
    i.structure([&] {
      i.text(t.name);
      i.number(t.open);
      i.number(t.started);
      i.list(t.by_code, [](auto& j, auto& n) { j.number(n); });
      i.number(t.request_messages);
      i.number(t.response_messages);
      fields(i, t.duration);
    });
  });
  io.list(m.defences, [](auto& i, auto& d) {
    i.structure([&] {
      i.text(d.name);
      i.text(d.side);
      i.text(d.kind);
      i.number(d.value);
    });
  });
}

template <class IO, class T>
void fields(IO& io, T& r)
  requires std::is_same_v<std::remove_const_t<T>, StreamRow>
{
  io.structure([&] {
    io.number(r.key);
    for (auto* text : {&r.method, &r.client, &r.target, &r.group_arn}) io.text(*text);
    for (auto* number : {&r.age_ms, &r.idle_ms, &r.request_messages, &r.response_messages, &r.request_bytes,
                         &r.response_bytes, &r.request_rate, &r.response_rate, &r.byte_rate, &r.waiting_bytes}) {
      io.number(*number);
    }
    io.enumerator(r.blocked, StreamBlock::NoTarget);
    io.number(r.deadline_ms);
    io.number(r.attempts);
    io.number(r.is_grpc);
    io.number(r.connection);
    io.number(r.stream_id);
  });
}

template <class IO, class T>
void message_fields(IO& io, T& m) {
  using M = std::remove_const_t<T>;
  if constexpr (std::is_same_v<M, Welcome>) {
    io.number(m.pid);
    io.number(m.generation);
    io.list(m.listeners, [](auto& i, auto& l) { fields(i, l); });
  } else if constexpr (std::is_same_v<M, OpenListener> || std::is_same_v<M, CloseListener>) {
    fields(io, m.socket);
  } else if constexpr (std::is_same_v<M, GroupUpdate>) {
    io.number(m.generation);
    fields(io, m.group);
  } else if constexpr (std::is_same_v<M, Applied>) {
    io.number(m.generation);
  } else if constexpr (std::is_same_v<M, Health>) {
    io.list(m.targets, [](auto& i, auto& t) {
      i.structure([&] {
        i.text(t.group_arn);
        i.text(t.address);
        i.number(t.port);
        i.enumerator(t.state, TargetState::Draining);
        i.enumerator(t.reason, HealthReason::DeregistrationInProgress);
        i.text(t.description);
        i.number(t.anomaly_known);
        i.number(t.anomalous);
        i.number(t.mitigated);
      });
    });
  } else if constexpr (std::is_same_v<M, Drained>) {
    io.text(m.group_arn);
    io.text(m.address);
    io.number(m.port);
  } else if constexpr (std::is_same_v<M, Stats>) {
    fields(io, m);
  } else if constexpr (std::is_same_v<M, Shutdown>) {
    io.number(m.drain_ms);
  } else if constexpr (std::is_same_v<M, StreamsRequest>) {
    io.number(m.id);
    io.enumerator(m.order, StreamOrder::Blocked);
    io.number(m.limit);
    io.number(m.skip);
    io.text(m.filter);
  } else if constexpr (std::is_same_v<M, Streams>) {
    io.number(m.id);
    io.number(m.open);
    io.list(m.rows, [](auto& i, auto& r) { fields(i, r); });
  } else if constexpr (std::is_same_v<M, FramesRequest>) {
    io.number(m.id);
    io.number(m.limit);
    io.number(m.connection);
    io.number(m.stream_id);
  } else if constexpr (std::is_same_v<M, Frames>) {
    io.number(m.id);
    io.list(m.lines, each_text);
  }
}

template <size_t I = 0>
bool decode_type(uint16_t type, Reader& reader, Message& out) {
  if constexpr (I < std::variant_size_v<Message>) {
    if (type != I) return decode_type<I + 1>(type, reader, out);
    using M = std::variant_alternative_t<I, Message>;
    if constexpr (std::is_same_v<M, Snapshot>) {
      auto snapshot = std::make_shared<RoutingSnapshot>();
      fields(reader, *snapshot);
      out = Snapshot{std::move(snapshot)};
    } else {
      M message{};
      reader.structure([&] { message_fields(reader, message); });
      out = std::move(message);
    }
    return true;
  } else {
    return false;
  }
}

}  // namespace

std::string encode(const Message& message) {
  Writer writer;
  writer.number(uint32_t{0});
  writer.number(kLinkVersion);
  writer.number(static_cast<uint16_t>(message.index()));
  std::visit(
      [&](const auto& m) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(m)>, Snapshot>) {
          fields(writer, *m.snapshot);
        } else {
          writer.structure([&] { message_fields(writer, m); });
        }
      },
      message);
  auto length = static_cast<uint32_t>(writer.out.size() - sizeof(uint32_t));
  std::memcpy(writer.out.data(), &length, sizeof length);
  return std::move(writer.out);
}

Result<Message> decode(std::span<const uint8_t> frame) {
  Reader reader(frame);
  uint16_t version = 0;
  uint16_t type = 0;
  reader.number(version);
  reader.number(type);
  if (!reader.ok) return fail("link: frame shorter than its header");
  if (version != kLinkVersion) return fail("link: version " + std::to_string(version) + " is not spoken here");
  Message message;
  if (!decode_type(type, reader, message)) return fail("link: unknown message type " + std::to_string(type));
  if (!reader.ok || !reader.at_end()) return fail("link: malformed message of type " + std::to_string(type));
  return message;
}

}  // namespace weir::model
