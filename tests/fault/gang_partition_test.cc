// Two ranks that live and reach the orchestrator, and no longer each other.
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "core/base/check.h"
#include "tests/fault/gang_fixture.h"

namespace retort {
namespace {

// Of the loopback interface, or of an address of it such as "lo:1".
class Interface {
 public:
  explicit Interface(const char* name) : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    std::strncpy(request_.ifr_name, name, IFNAMSIZ - 1);
  }
  ~Interface() { close(socket_); }
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  void GiveAddress(const char* address) {
    sockaddr_in own = {};
    own.sin_family = AF_INET;
    RETORT_CHECK(inet_pton(AF_INET, address, &own.sin_addr) == 1) << address;
    std::memcpy(&request_.ifr_addr, &own, sizeof own);
    RETORT_CHECK(ioctl(socket_, SIOCSIFADDR, &request_) == 0) << address << ": " << std::strerror(errno);
  }
  // An address that is down is nobody's.
  void Switch(bool on) {
    request_.ifr_flags = on ? IFF_UP | IFF_RUNNING : 0;
    RETORT_CHECK(ioctl(socket_, SIOCSIFFLAGS, &request_) == 0) << std::strerror(errno);
  }

 private:
  const int socket_;
  ifreq request_ = {};
};

// Of two networks: the second of one network would go with the first.
constexpr const char* kAddressOfA = "10.77.0.1";
constexpr const char* kAddressOfB = "172.16.77.1";

// What is done to the network of this program and its children concerns nobody else.
bool TakeOwnNetwork() {
  if (unshare(CLONE_NEWNET) != 0) return false;
  Interface("lo").Switch(true);
  Interface("lo:1").GiveAddress(kAddressOfA);
  Interface("lo:2").GiveAddress(kAddressOfB);
  return true;
}
// Before main, so that all threads have it.
const bool kHasOwnNetwork = TakeOwnNetwork();

TEST_F(GangFault, RanksThatNoLongerReachEachOtherPartAndGoOnWhenTheyDo) {
  if (!kHasOwnNetwork) GTEST_SKIP() << "SKIPPED: no right to a network namespace, which CAP_SYS_ADMIN gives";
  constexpr double kNoticedSeconds = 10 + 2;  // the time limit and two seconds
  for (const auto& [name, host] : {std::pair("a", kAddressOfA), std::pair("b", kAddressOfB)}) {
    cluster_.StartWorker(name, TinyJobDirectory(), {"--host", host});
  }
  AwaitWorkers(cluster_, 2);
  Submit(kGang);
  ASSERT_NE(AwaitStageThree(1), "");
  const auto both_said = [&](const char* words) {
    return cluster_.worker("a").err().find(words) != std::string::npos &&
           cluster_.worker("b").err().find(words) != std::string::npos;
  };
  Interface("lo:1").Switch(false);
  Interface("lo:2").Switch(false);
  EXPECT_TRUE(Eventually(kNoticedSeconds, [&] { return both_said("the gang parts: "); }))
      << cluster_.worker("a").err();
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return both_said("connecting the ranks"); }));
  Interface("lo:1").GiveAddress(kAddressOfA);
  Interface("lo:2").GiveAddress(kAddressOfB);
  const Files files = Result();
  ExpectTheUndisturbedStudent(files, kGang);
  ExpectEveryStepOnce(files);
  EXPECT_EQ(Losses(v1::END_CAUSE_INFRASTRUCTURE), 0u) << history_->Render();
}

}  // namespace
}  // namespace retort
