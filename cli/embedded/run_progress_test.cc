#include "cli/embedded/run_progress.h"

#include <sstream>

#include "cli/show/testing_run.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

class ShowsARun : public testing::Test {
 protected:
  ShowsARun() {
    for (v1::StageBudget* budget : {job_.mutable_stages()->mutable_matrix_orientation()->mutable_budget(),
                                    job_.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget(),
                                    job_.mutable_stages()->mutable_end_to_end()->mutable_budget()}) {
      budget->set_tokens_per_step(1000);
    }
  }

  // Two layers in two stages, and the student, each at its step of 20.
  void Show(std::vector<uint64_t> steps) {
    now_ += 20;
    v1::RunStatus run;
    const v1::Stage stages[] = {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_MATRIX_ORIENTATION,
                                v1::STAGE_HIDDEN_STATE_ALIGNMENT, v1::STAGE_HIDDEN_STATE_ALIGNMENT,
                                v1::STAGE_END_TO_END};
    for (size_t i = 0; i < steps.size(); ++i) {
      const bool done = steps[i] == 20, leased = steps[i] > 0 && !done;
      v1::TaskStatus* task =
          AddTask(run, stages[i], i % 2, done ? v1::TASK_STATE_DONE : v1::TASK_STATE_PENDING, steps[i], 20);
      if (steps[i] > 0) task->set_loss(static_cast<double>(i + 1));
      if (leased) task->set_steps_per_second(2);
    }
    shown_.Show(run);
  }

  // What came since the last call.
  std::string Lines() {
    std::string lines = out_.str();
    out_.str("");
    return lines;
  }

  v1::JobSpec job_;
  double now_ = 0;
  std::ostringstream out_;
  Progress progress_{out_, {}, [this] { return now_; }};
  RunProgress shown_{progress_, job_};
};

TEST_F(ShowsARun, AsRankZeroCountsTheStepsOfStageThree) {
  v1::RunStatus run;
  AddTask(run, v1::STAGE_END_TO_END, 0, v1::TASK_STATE_LEASED, 5, 20)->set_loss(3);
  AddTask(run, v1::STAGE_END_TO_END, 1, v1::TASK_STATE_LEASED, 0, 0);
  shown_.Show(run);
  EXPECT_EQ(Lines(), "end_to_end  resumes at step 5/20\n");
}

TEST_F(ShowsARun, AsTheMeanStepOfItsLayersAStageAfterTheOther) {
  Show({0, 0, 0, 0, 0});
  EXPECT_EQ(Lines(), "matrix_orientation  starts at step 0/20\n");
  Show({10, 5, 0, 0, 0});
  EXPECT_EQ(Lines(), "matrix_orientation  step 7/20  loss 1.5  2.0k tok/s  ETA 37s\n");
  Show({20, 20, 0, 0, 0});
  EXPECT_EQ(Lines(),
            "matrix_orientation  step 20/20  loss 1.5  ETA 0s\nmatrix_orientation  step 20/20  loss 1.5  "
            "done in 40s\n"
            "hidden_state_alignment  starts at step 0/20\n");
}

TEST_F(ShowsARun, WithStagesThatPassedBetweenTwoSnapshots) {
  Show({0, 0, 0, 0, 0});
  Lines();
  Show({20, 20, 20, 20, 0});
  EXPECT_EQ(Lines(),
            "matrix_orientation  step 20/20  loss 1.5  ETA 0s\nmatrix_orientation  step 20/20  loss 1.5  "
            "done in 20s\n"
            "hidden_state_alignment  starts at step 0/20\nhidden_state_alignment  step 20/20  loss 3.5  "
            "done in 0s\n");
}

TEST_F(ShowsARun, WithoutWhatAnEarlierCommandDid) {
  Show({20, 20, 4, 6, 0});
  EXPECT_EQ(Lines(), "hidden_state_alignment  resumes at step 5/20\n");
}

TEST_F(ShowsARun, BeforeThereAreTasksAsNothing) {
  Show({});
  EXPECT_EQ(Lines(), "");
}

TEST_F(ShowsARun, WithTheLastStageOnceItTakesSteps) {
  Show({20, 20, 20, 20, 0});
  EXPECT_EQ(Lines(), "");
  Show({20, 20, 20, 20, 1});
  EXPECT_EQ(Lines(), "end_to_end  starts at step 0/20\n");
  Show({20, 20, 20, 20, 12});
  shown_.End();
  EXPECT_EQ(Lines(),
            "end_to_end  step 12/20  loss 5  2.0k tok/s  ETA 13s\nend_to_end  step 12/20  loss 5  2.0k tok/s "
            " stopped after 20s\n");
}

}  // namespace
}  // namespace retort
