#include "io/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "io/blocked_signals.h"

namespace skerry {
namespace {

constexpr size_t kMaxText = 64u << 20;
constexpr long kLargeBuffer = 256 << 10, kSmallBuffer = 16 << 10;
constexpr TimeNs kMs = 1'000'000;
constexpr TimeNs kLookNs = 250 * kMs;  // between looks at requests that may have stalled
constexpr TimeNs kIdleNs = 60'000 * kMs;
constexpr TimeNs kNever = INT64_MAX;
constexpr int kEvents = 64;  // taken at once

void initialize_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

struct Transfer;

/// The requests of one call, whose thread waits for them.
struct Batch {
  explicit Batch(const CancelToken& token, size_t count) : token(token) { ended.reserve(count); }

  const CancelToken& token;
  std::mutex mutex;              // guards what follows; held while `token` is signalled
  std::vector<Transfer*> ended;  // and not taken by the caller yet
};

/// One request on its way. The loop's thread owns all of it until it is among `batch.ended`.
struct Transfer {
  Transfer(const HttpRequest& request, size_t index, Batch& batch)
      : request(request), index(index), batch(batch) {}
  ~Transfer() { curl_slist_free_all(headers); }

  const HttpRequest& request;
  const size_t index;
  Batch& batch;
  CURL* easy = nullptr;  // while it is under way
  HttpAnswer answer;
  curl_slist* headers = nullptr;
  size_t piece = 0, in_piece = 0;  // of the body: what is sent next
  bool began = false;              // it has a connection, and its head may have been sent
  bool answered = false;
  bool too_long = false;
  TimeNs last_moved_ns = 0, began_ns = 0;
  char message[CURL_ERROR_SIZE] = "";
  std::optional<Error> error;
};

bool changes(const HttpRequest& request) {
  return request.method != "GET" && request.method != "HEAD";
}

uint64_t body_bytes(const HttpRequest& request) {
  uint64_t bytes = 0;
  for (ByteView piece : request.body) bytes += piece.size();
  return bytes;
}

size_t send_body(char* out, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::vector<ByteView>& body = transfer.request.body;
  size_t room = size * count, done = 0;
  while (room > 0 && transfer.piece < body.size()) {
    const ByteView rest = body[transfer.piece].subspan(transfer.in_piece);
    const size_t n = std::min(room, rest.size());
    if (n > 0) std::memcpy(out + done, rest.data(), n);
    done += n;
    room -= n;
    transfer.in_piece += n;
    if (n == rest.size()) {
      ++transfer.piece;
      transfer.in_piece = 0;
    }
  }
  transfer.last_moved_ns = system_clock().monotonic_ns();
  return done;
}

/// libcurl begins again on another connection.
int rewind_body(void* context, curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.piece = transfer.in_piece = 0;
  return CURL_SEEKFUNC_OK;
}

int note_beginning(void* context, char*, char*, int, int) {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.began = true;
  transfer.last_moved_ns = transfer.began_ns = system_clock().monotonic_ns();
  return CURL_PREREQFUNC_OK;
}

void take_line(Transfer& transfer, std::string_view line) {
  HttpAnswer& answer = transfer.answer;
  transfer.answered = true;
  transfer.last_moved_ns = system_clock().monotonic_ns();
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // after a 100 Continue another one comes
    answer.headers.clear();
    const size_t blank = line.find(' ');
    answer.status = 0;
    for (size_t i = blank + 1; blank != line.npos && i < line.size() && i < blank + 4; ++i) {
      if (line[i] < '0' || line[i] > '9') break;
      answer.status = answer.status * 10 + (line[i] - '0');
    }
  } else if (const size_t colon = line.find(':'); colon != line.npos) {
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), lower);
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    answer.headers.emplace_back(std::move(name), value);
  }
}

// No exception may cross libcurl: too little memory ends the transfer.
size_t take_header(char* data, size_t size, size_t count, void* context) {
  try {
    take_line(*static_cast<Transfer*>(context), {data, size * count});
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return size * count;
}

size_t take_body(char* data, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  HttpAnswer& answer = transfer.answer;
  const size_t n = size * count;
  transfer.last_moved_ns = system_clock().monotonic_ns();
  if (!transfer.request.into.empty() && answer.status / 100 == 2) {
    if (n > transfer.request.into.size() - answer.received) {
      transfer.too_long = true;
      return CURL_WRITEFUNC_ERROR;
    }
    std::memcpy(transfer.request.into.data() + answer.received, data, n);
    answer.received += n;
  } else {
    if (n > kMaxText - answer.text.size()) {
      transfer.too_long = true;
      return CURL_WRITEFUNC_ERROR;
    }
    try {
      answer.text.append(data, n);
    } catch (const std::bad_alloc&) {
      return CURL_WRITEFUNC_ERROR;
    }
  }
  return n;
}

/// Method and URL without the query, where a signature may be.
std::string shown(const HttpRequest& request) {
  return request.method + " " + request.url.substr(0, request.url.find('?'));
}

/// What to do about a certificate that was not believed. `verdict`: OpenSSL's, of
/// X509_verify_cert().
std::string advice_of_tls(long verdict) {
  switch (verdict) {
    case 0:  // X509_V_OK: it is good, and another host's
    case 1:  // libcurl's own, where it found that out before it asked
      return "; ask the server by a name that its certificate has";
    case 10:  // X509_V_ERR_CERT_HAS_EXPIRED
      return "; renew it, or set this machine's clock";
    case 18:  // X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    case 19:  // X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    case 20:  // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
      return "; if it is the right server, name its authority's with ca_bundle";
    default:
      return "";
  }
}

Error failure(const Transfer& transfer, CURLcode code) {
  const HttpRequest& request = transfer.request;
  if (code == CURLE_OUT_OF_MEMORY) return Error(ENOMEM);
  std::string why = transfer.message[0] != '\0' ? transfer.message : curl_easy_strerror(code);
  if (code == CURLE_PEER_FAILED_VERIFICATION) {
    long verdict = -1;
    curl_easy_getinfo(transfer.easy, CURLINFO_SSL_VERIFYRESULT, &verdict);
    why += advice_of_tls(verdict);
  }
  if (transfer.too_long) why = "the answer is longer than what was asked for";
  const bool lasting = code == CURLE_SSL_CACERT_BADFILE || code == CURLE_PEER_FAILED_VERIFICATION ||
                       code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
  const bool late = code == CURLE_OPERATION_TIMEDOUT;
  return Error(late ? ETIMEDOUT : EIO, shown(request) + ": " + why)
      .set_retryable(!lasting)
      .set_maybe_applied(transfer.began && changes(request));
}

}  // namespace

std::string_view HttpAnswer::header(std::string_view lower_case_name) const {
  std::string_view found;
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) found = value;
  }
  return found;
}

class HttpClient::Loop {
 public:
  explicit Loop(HttpOptions options) : options_(std::move(options)) { initialize_curl(); }
  ~Loop();

  using TransferPtr = std::shared_ptr<Transfer>;  // of the caller and of the loop

  /// All or, with an error, none of them.
  Status start(const std::vector<TransferPtr>& transfers);
  /// Those of them that have not ended yet.
  void cancel(const std::vector<TransferPtr>& transfers);
  bool inherited() const { return process_ != getpid(); }

 private:
  bool open();
  void close();
  void wake() const;
  void wait_and_move();
  static int on_socket(CURL*, curl_socket_t socket, int what, void* loop, void* known);
  static int on_timer(CURLM*, long after_ms, void* loop);

  void run();
  void begin(const TransferPtr& transfer);
  bool set_up(CURL* easy, Transfer& transfer) const;
  void end(CURL* easy, std::optional<Error> error);
  void finish(Transfer& transfer, std::optional<Error> error);
  void end_stalled();
  CURL* take_easy();
  void keep(CURL* easy);

  const HttpOptions options_;
  const pid_t process_ = getpid();

  std::mutex mutex_;  // guards what follows
  bool stopping_ = false;
  std::vector<TransferPtr> arrived_, cancelled_;
  std::thread thread_;

  // Of the thread, made before it starts.
  CURLM* multi_ = nullptr;
  int epoll_ = -1;
  int wakes_ = -1;          // an eventfd, which others write to
  TimeNs due_ns_ = kNever;  // when libcurl wants to be called
  TimeNs look_ns_ = 0;      // when to look for what has stalled
  std::unordered_map<CURL*, TransferPtr> active_;
  std::vector<CURL*> idle_;
};

HttpClient::Loop::~Loop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  for (CURL* easy : idle_) curl_easy_cleanup(easy);
  close();
}

bool HttpClient::Loop::open() {
  multi_ = curl_multi_init();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wakes_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wakes_;
  if (multi_ == nullptr || epoll_ < 0 || wakes_ < 0 ||
      epoll_ctl(epoll_, EPOLL_CTL_ADD, wakes_, &event) != 0) {
    return false;
  }
  const auto connections = static_cast<long>(options_.max_connections);
  curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, connections);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  return true;
}

void HttpClient::Loop::close() {
  if (multi_ != nullptr) curl_multi_cleanup(multi_);
  if (epoll_ >= 0) ::close(epoll_);
  if (wakes_ >= 0) ::close(wakes_);
  multi_ = nullptr;
  epoll_ = wakes_ = -1;
}

void HttpClient::Loop::wake() const {
  const uint64_t one = 1;
  // It fails where very many are waiting to be read, and then there is no need.
  static_cast<void>(write(wakes_, &one, sizeof one) == sizeof one);
}

int HttpClient::Loop::on_socket(CURL*, curl_socket_t socket, int what, void* loop, void* known) {
  auto& self = *static_cast<Loop*>(loop);
  epoll_event event{};
  event.data.fd = socket;
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(self.epoll_, EPOLL_CTL_DEL, socket, &event);
    return 0;
  }
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  if (known == nullptr) curl_multi_assign(self.multi_, socket, loop);
  // -1 ends all transfers, so what cannot be watched is left to the limits of its own transfer.
  epoll_ctl(self.epoll_, known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event);
  return 0;
}

int HttpClient::Loop::on_timer(CURLM*, long after_ms, void* loop) {
  auto& self = *static_cast<Loop*>(loop);
  self.due_ns_ = after_ms < 0 ? kNever : system_clock().monotonic_ns() + after_ms * kMs;
  return 0;
}

Status HttpClient::Loop::start(const std::vector<TransferPtr>& transfers) {
  if (inherited()) return Error(EIO, "an HTTP client that was inherited from another process");
  std::lock_guard lock(mutex_);
  if (!thread_.joinable()) {
    if (!open()) {
      close();
      return Error(EAGAIN, "no memory or descriptors for an HTTP client");
    }
    const BlockedSignals blocked;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      close();
      return Error(EAGAIN, "no thread can be started");
    }
  }
  const bool first = arrived_.empty();
  arrived_.insert(arrived_.end(), transfers.begin(), transfers.end());
  if (first) wake();
  return {};
}

void HttpClient::Loop::cancel(const std::vector<TransferPtr>& transfers) {
  std::lock_guard lock(mutex_);
  cancelled_.insert(cancelled_.end(), transfers.begin(), transfers.end());
  wake();
}

/// Only those that something happened to are looked at, however many are under way.
void HttpClient::Loop::wait_and_move() {
  const TimeNs now = system_clock().monotonic_ns();
  TimeNs wait = active_.empty() ? kIdleNs : kLookNs;
  if (due_ns_ != kNever) wait = std::clamp<TimeNs>(due_ns_ - now, 0, wait);
  epoll_event events[kEvents];
  const int count = epoll_wait(epoll_, events, kEvents, static_cast<int>((wait + kMs - 1) / kMs));
  int running = 0;
  for (int i = 0; i < count; ++i) {
    const int socket = events[i].data.fd;
    if (socket == wakes_) {
      uint64_t ignored = 0;
      static_cast<void>(read(wakes_, &ignored, sizeof ignored));
      continue;
    }
    int what = 0;
    if ((events[i].events & EPOLLIN) != 0) what |= CURL_CSELECT_IN;
    if ((events[i].events & EPOLLOUT) != 0) what |= CURL_CSELECT_OUT;
    if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) what |= CURL_CSELECT_ERR;
    curl_multi_socket_action(multi_, socket, what, &running);
  }
  if (due_ns_ != kNever && system_clock().monotonic_ns() >= due_ns_) {
    due_ns_ = kNever;
    curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

void HttpClient::Loop::run() {
  pthread_setname_np(pthread_self(), "skerry-http");
  std::vector<TransferPtr> arrived, cancelled;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) break;
      arrived.swap(arrived_);
      cancelled.swap(cancelled_);
    }
    for (const TransferPtr& transfer : arrived) begin(transfer);
    arrived.clear();
    for (const TransferPtr& transfer : cancelled) {
      if (transfer->easy == nullptr) continue;  // it has ended
      end(transfer->easy, Error(ECANCELED, "the request was given up")
                              .set_maybe_applied(transfer->began && changes(transfer->request)));
    }
    cancelled.clear();
    wait_and_move();
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* const easy = message->easy_handle;
      const CURLcode code = message->data.result;  // the message goes with the handle
      const TransferPtr transfer = active_.at(easy);
      std::optional<Error> error;
      if (code != CURLE_OK) error = failure(*transfer, code);
      end(easy, std::move(error));
    }
    end_stalled();
  }
  while (!active_.empty()) end(active_.begin()->first, Error(ECANCELED, "the client is closed"));
}

CURL* HttpClient::Loop::take_easy() {
  if (idle_.empty()) return curl_easy_init();
  CURL* const easy = idle_.back();
  idle_.pop_back();
  return easy;
}

/// Knows nothing of its transfer any more, which may be gone before it is used again.
void HttpClient::Loop::keep(CURL* easy) {
  curl_easy_reset(easy);
  idle_.push_back(easy);
}

void HttpClient::Loop::begin(const TransferPtr& transfer) {
  CURL* const easy = take_easy();
  if (easy == nullptr) return finish(*transfer, Error(ENOMEM));
  if (!set_up(easy, *transfer) || curl_multi_add_handle(multi_, easy) != CURLM_OK) {
    keep(easy);
    return finish(*transfer, Error(ENOMEM));
  }
  transfer->easy = easy;
  active_.emplace(easy, transfer);
}

bool HttpClient::Loop::set_up(CURL* easy, Transfer& transfer) const {
  const HttpRequest& request = transfer.request;
  auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(transfer.headers, line.c_str());
    if (longer != nullptr) transfer.headers = longer;
    return longer != nullptr;
  };
  bool fine = add("Expect:") && add("Accept:");  // neither is wanted
  for (const auto& [name, value] : request.headers) {
    fine = fine && add(value.empty() ? name + ";" : name + ": " + value);
  }
  const auto length = static_cast<curl_off_t>(body_bytes(request));
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.message);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options_.connect_timeout_ns / kMs));
  if (!options_.user_agent.empty()) {
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  }
  if (!options_.ca_bundle.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_bundle.c_str());
  }
  if (!options_.proxy.empty()) curl_easy_setopt(easy, CURLOPT_PROXY, options_.proxy.c_str());
  if (options_.direct) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  if (!options_.verify_tls) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (request.method == "PUT") {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, length);
  } else if (request.method == "POST") {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, length);
  } else if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else {
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (request.method != "GET") {
      curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
  }
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
                   request.into.size() > kSmallBuffer ? kLargeBuffer : kSmallBuffer);
  if (length > kLargeBuffer) curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kLargeBuffer);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, send_body);
  curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);
  curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, note_beginning);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
  return fine;
}

void HttpClient::Loop::end(CURL* easy, std::optional<Error> error) {
  const auto found = active_.find(easy);
  const TransferPtr transfer = std::move(found->second);
  active_.erase(found);
  curl_multi_remove_handle(multi_, easy);
  keep(easy);
  transfer->easy = nullptr;
  finish(*transfer, std::move(error));
}

/// Its caller takes all that has ended at once, and needs to be woken for the first of it alone.
void HttpClient::Loop::finish(Transfer& transfer, std::optional<Error> error) {
  Batch& batch = transfer.batch;
  std::lock_guard lock(batch.mutex);
  transfer.error = std::move(error);
  batch.ended.push_back(&transfer);
  if (batch.ended.size() == 1) batch.token.signal();
}

void HttpClient::Loop::end_stalled() {
  const TimeNs now = system_clock().monotonic_ns();
  if (now < look_ns_) return;
  look_ns_ = now + kLookNs;
  struct Late {
    CURL* easy;
    TimeNs limit_ns;
    const char* what;
  };
  std::vector<Late> late;
  for (const auto& [easy, transfer] : active_) {
    if (!transfer->began) continue;  // it waits for a connection, which has a limit of its own
    const TimeNs limit =
        transfer->answered ? options_.stall_timeout_ns : options_.first_byte_timeout_ns;
    if (now - transfer->last_moved_ns > limit) {
      late.push_back({easy, limit, "nothing came for "});
    } else if (options_.request_timeout_ns > 0 &&
               now - transfer->began_ns > options_.request_timeout_ns) {
      late.push_back({easy, options_.request_timeout_ns, "not done after "});
    }
  }
  for (const auto& [easy, limit, what] : late) {
    const HttpRequest& request = active_.at(easy)->request;
    end(easy, Error(ETIMEDOUT, shown(request) + ": " + what + std::to_string(limit / kMs) + " ms")
                  .set_retryable()
                  .set_maybe_applied(changes(request)));
  }
}

HttpClient::HttpClient(HttpOptions options) : loop_(std::make_unique<Loop>(std::move(options))) {}
HttpClient::~HttpClient() {
  // Neither thread nor connections are this process's, and the mutex may be held for ever.
  if (loop_->inherited()) static_cast<void>(loop_.release());
}

Result<HttpAnswer> HttpClient::perform(const OpContext& ctx, const HttpRequest& request) {
  std::optional<Result<HttpAnswer>> result;
  perform_many(ctx, {&request, 1},
               [&](size_t, Result<HttpAnswer> answer) { result = std::move(answer); });
  return *std::move(result);
}

void HttpClient::perform_many(const OpContext& ctx, std::span<const HttpRequest> requests,
                              const Done& done) {
  const CancelToken own;
  Batch batch(ctx.cancel != nullptr ? *ctx.cancel : own, requests.size());
  std::vector<std::shared_ptr<Transfer>> transfers;
  std::vector<Transfer*> ended;
  transfers.reserve(requests.size());
  ended.reserve(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    transfers.push_back(std::make_shared<Transfer>(requests[i], i, batch));
  }
  Status given_up = ctx.check();
  if (given_up.ok() && !requests.empty()) given_up = loop_->start(transfers);
  if (!given_up.ok()) {
    for (size_t i = 0; i < requests.size(); ++i) done(i, given_up.error());
    return;
  }
  // What the loop writes to is the caller's: nothing, an exception included, ends this before it.
  std::exception_ptr thrown;
  const auto tell = [&](Transfer& transfer) {
    if (!transfer.error) return done(transfer.index, std::move(transfer.answer));
    Error& error = *transfer.error;
    if (given_up.ok() || error.code() != ECANCELED) return done(transfer.index, std::move(error));
    done(transfer.index,
         Error(given_up.error().code(), shown(transfer.request) + ": " + given_up.error().message())
             .set_maybe_applied(error.maybe_applied()));
  };
  for (size_t left = requests.size(); left > 0;) {
    const uint32_t seen = batch.token.signals();
    {
      std::lock_guard lock(batch.mutex);
      ended.swap(batch.ended);
    }
    for (Transfer* transfer : ended) {
      try {
        tell(*transfer);
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    left -= ended.size();
    const bool none = ended.empty();
    ended.clear();
    if (!none) continue;
    if (given_up.ok()) {
      given_up = ctx.check();
      if (!given_up.ok()) loop_->cancel(transfers);
    }
    TimeNs wait = 1000 * kMs;
    if (given_up.ok() && ctx.deadline_ns != INT64_MAX) {
      wait = std::clamp<TimeNs>(ctx.deadline_ns - ctx.clock->monotonic_ns(), kMs, wait);
    }
    batch.token.wait(seen, wait);
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

}  // namespace skerry
