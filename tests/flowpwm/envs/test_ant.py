"""The Ant: its robot, its frames and its reward against independent computations."""

import pickle

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from flowpwm.envs import Step, make, spec
from flowpwm.envs.ant import Ant, ant_model
from flowpwm.envs.physics import mj

# MuJoCo's z-up frame seen from DFlex's y-up one
TURN = Rotation.from_euler("x", -90, degrees=True)


def make_ant(num_envs: int = 1, seed: int = 0, **options: str) -> Ant:
    env = make("ant", num_envs, seed, **options)
    assert isinstance(env, Ant)
    env.reset()
    return env


def random_actions(env: Ant, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, env.num_envs, 8))


def pose(env: Ant, height: float) -> None:
    """Motionless at the origin, upright, facing along x, joints at their start angles."""
    env.physics.qpos[:] = [0, 0, height, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
    env.physics.qvel[:] = 0.0
    env.physics.forward()


def expected_obs(qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> np.ndarray:
    """One robot's observation, all of its algebra done in the y-up frame."""
    start_frame = Rotation.from_quat(qpos[[4, 5, 6, 3]])
    in_y_up = TURN * start_frame
    body = in_y_up * TURN.inv()
    to_target = np.array([10_000.0, 0.0, 0.0]) - TURN.apply(qpos[:3])
    to_target[1] = 0.0
    up, ahead = body.apply([0.0, 1.0, 0.0]), body.apply([1.0, 0.0, 0.0])
    return np.concatenate(
        [
            [TURN.apply(qpos[:3])[1]],
            in_y_up.as_quat(),
            TURN.apply(qvel[:3]),
            in_y_up.apply(qvel[3:6]),
            qpos[7:],
            qvel[6:] / 10.0,
            [up[1], ahead @ to_target / np.linalg.norm(to_target)],
            action,
        ]
    )


def expected_reward(obs: np.ndarray) -> np.ndarray:
    """v_x + 0.1 up + heading + (height - 0.27), from observations alone."""
    return obs[:, 5] + 0.1 * obs[:, 27] + obs[:, 28] + obs[:, 0] - 0.27


def test_the_robot_weighs_what_its_parts_do() -> None:
    def capsule(length: float) -> float:
        return 1000.0 * np.pi * (0.08**2 * length + 4.0 / 3.0 * 0.08**3)

    upper, lower = capsule(0.2 * np.sqrt(2.0)), capsule(0.4 * np.sqrt(2.0))
    torso = 1000.0 * 4.0 / 3.0 * np.pi * 0.25**3 + 4.0 * upper
    mass = ant_model().body_mass[1:]
    np.testing.assert_allclose(mass, [torso, *(upper, lower) * 4], rtol=1e-9)
    np.testing.assert_allclose([torso, upper, lower], [96.78, 7.83, 13.52], atol=0.005)
    assert mass.sum() == pytest.approx(182.18, abs=0.005)


def test_every_foot_is_bent_down_alike_at_the_start() -> None:
    env = make_ant()
    pose(env, 0.75)
    # a lower leg of 0.4 sqrt(2) m, bent by 1 rad, hangs half its height below the torso's centre
    centre = 0.75 - 0.2 * np.sqrt(2.0) * np.sin(1.0)
    feet = [env.physics.geom(f"lower_leg_{leg}") for leg in (1, 2, 3, 4)]
    positions = env.physics.field("geom_xpos")[0, feet]
    np.testing.assert_allclose(positions[:, 2], centre, rtol=1e-9)
    signs = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    np.testing.assert_array_equal(np.sign(positions[:, :2]), signs)


def test_an_action_is_200_newton_metres_in_the_order_of_the_joints() -> None:
    env = make_ant(8)
    torque = env.physics.field("qfrc_actuator")
    env.step(np.diag([1.0, -1.0, 0.5, -0.5, 1.0, 2.0, 0.0, -3.0]))
    expected = np.zeros((8, 14))
    expected[:, 6:] = np.diag([200.0, -200.0, 100.0, -100.0, 200.0, 200.0, 0.0, -200.0])
    np.testing.assert_allclose(torque, expected, atol=1e-9)
    hinges = [env.physics.model.joint(joint).name for joint in range(1, 9)]
    assert hinges == [f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle")]


def test_a_joint_limit_is_a_spring_of_1000_newton_metres_a_radian() -> None:
    model = ant_model()
    model.opt.gravity[:] = 0.0
    data = mj.MjData(model)
    data.qpos[7:] = [0, 1, 0, -1, 0, -1, 0, 1]
    # all feet bent alike: the torso only rises and falls, and 200 N m give 0.2 rad beyond 100 deg
    data.ctrl[:] = [0, 1, 0, -1, 0, -1, 0, 1]
    mj.mj_step(model, data, nstep=5000)
    np.testing.assert_allclose(np.abs(data.qpos[8::2]), np.deg2rad(100.0) + 0.2, rtol=1e-3)


def test_an_upright_ants_observation_is_known_by_hand() -> None:
    env = make_ant()
    pose(env, 0.75)
    obs = env._observe()[0]
    half = np.sqrt(0.5)
    assert obs[0] == 0.75
    np.testing.assert_allclose(obs[1:5], [-half, 0.0, 0.0, half], atol=1e-12)
    np.testing.assert_array_equal(obs[5:11], np.zeros(6))
    assert obs[11:19].tolist() == [0, 1, 0, -1, 0, -1, 0, 1]
    np.testing.assert_array_equal(obs[19:27], np.zeros(8))
    np.testing.assert_allclose(obs[27:29], [1.0, 1.0], atol=1e-12)


def test_standing_still_pays_one_thirty_five_a_step() -> None:
    env = make_ant(reward_timing="pre_step")
    pose(env, 0.52)
    # no speed, 0.1 for being upright, 1 for facing along x, 0.52 - 0.27 for the height
    assert env.step(np.zeros((1, 8))).reward[0] == pytest.approx(1.35, rel=1e-6)


@pytest.mark.parametrize(
    ("rotation", "up", "heading"),
    [
        (Rotation.from_euler("z", 90, degrees=True), 1.0, 0.0),  # faces along y
        (Rotation.from_euler("z", 180, degrees=True), 1.0, -1.0),
        (Rotation.from_euler("x", 180, degrees=True), -1.0, 1.0),  # on its back
        (Rotation.from_euler("y", -90, degrees=True), 0.0, 0.0),  # on its tail, facing the sky
    ],
)
def test_up_and_heading_are_cosines_of_the_torsos_axes(
    rotation: Rotation, up: float, heading: float
) -> None:
    env = make_ant()
    pose(env, 0.75)
    env.physics.qpos[0, 3:7] = rotation.as_quat(scalar_first=True)
    env.physics.forward()
    np.testing.assert_allclose(env._observe()[0, 27:29], [up, heading], atol=1e-9)


def test_observation_and_reward_are_those_of_an_independent_computation() -> None:
    env = make_ant(8)
    compared = 0
    for action in 2.0 * random_actions(env, 60):
        step = env.step(action)
        np.testing.assert_allclose(step.reward, expected_reward(step.final_obs), atol=1e-5)
        for i in np.flatnonzero(~step.terminated):
            obs = expected_obs(env.physics.qpos[i], env.physics.qvel[i], np.clip(action[i], -1, 1))
            # q and -q are one rotation
            obs[1:5] *= np.sign(obs[1:5] @ step.obs[i, 1:5])
            np.testing.assert_allclose(step.obs[i], obs, atol=1e-5)
            compared += 1
    assert compared > 400


def test_the_velocities_are_what_moves_the_torso_in_the_world() -> None:
    env = make_ant(4)
    env.physics.qvel[:, 3:6] *= 20.0  # so that body and world frame differ
    for _ in range(5):
        env.physics.step(1)
    before = env.physics.qpos.copy()
    env.physics.step(1)
    dt, obs = env.physics.model.opt.timestep, env._observe()
    # semi-implicit Euler: the new velocity carries the position through the whole step
    moved = (env.physics.qpos[:, :3] - before[:, :3]) / dt
    np.testing.assert_allclose(obs[:, 5:8], TURN.apply(moved), atol=1e-9)
    now, then = (Rotation.from_quat(q[:, [4, 5, 6, 3]]) for q in (env.physics.qpos, before))
    turned = (now * then.inv()).as_rotvec() / dt
    np.testing.assert_allclose(obs[:, 8:11], TURN.apply(turned), atol=1e-6)
    assert np.linalg.norm(turned, axis=1).min() > 0.5


def test_the_observed_action_is_the_clipped_one_and_none_at_a_start() -> None:
    env = make_ant(3)
    env._elapsed[1] = env.episode_length - 1
    action = 2.0 * random_actions(env, 1)[0]
    step = env.step(action)
    expected = np.clip(action, -1.0, 1.0).astype(np.float32)
    np.testing.assert_array_equal(step.final_obs[:, 29:], expected)
    expected[1] = 0.0
    np.testing.assert_array_equal(step.obs[:, 29:], expected)


def test_an_episode_terminates_below_27_centimetres_and_is_truncated_at_1000_steps() -> None:
    env = make_ant(4)
    pose(env, 0.6)
    # on its back, so that no foot is in the way; at 2 m/s each falls 1/30 m in a step
    env.physics.qpos[:, 3:7] = [0.0, 1.0, 0.0, 0.0]
    env.physics.qpos[:, 2] = [0.29, 0.29, 0.32, 0.32]
    env.physics.qvel[:, 2] = -2.0
    env.physics.forward()
    env._elapsed[[1, 3]] = 999
    step = env.step(np.zeros((4, 8)))
    assert (step.final_obs[:2, 0] < 0.27).all()
    assert (step.final_obs[2:, 0] > 0.27).all()
    assert step.terminated.tolist() == [True, True, False, False]
    # one that falls in its last step has fallen
    assert step.truncated.tolist() == [False, False, False, True]
    assert (step.obs[[0, 1, 3], 0] >= 0.65).all()
    np.testing.assert_array_equal(step.obs[2], step.final_obs[2])


def test_pre_step_pays_for_the_state_in_which_the_action_was_chosen() -> None:
    after, before = make_ant(8, seed=3), make_ant(8, seed=3, reward_timing="pre_step")
    obs = before.reset()
    after.reset()
    ends = 0
    for action in random_actions(after, 120):
        late, early = after.step(action), before.step(action)
        np.testing.assert_allclose(early.reward, expected_reward(obs), atol=1e-5)
        np.testing.assert_allclose(late.reward, expected_reward(late.final_obs), atol=1e-5)
        # nothing else differs: termination looks at the state reached in both
        for name in ("obs", "final_obs", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(late, name), getattr(early, name))
        obs, ends = early.obs, ends + early.terminated.sum()
    assert ends > 4


def test_a_reward_timing_that_a_task_does_not_offer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ant: reward_timing 'never' .*: post_step, pre_step$"):
        make("ant", 1, seed=0, reward_timing="never")
    with pytest.raises(ValueError, match=r"point-mass: reward_timing 'pre_step' .*: post_step$"):
        make("point-mass", 1, seed=0, reward_timing="pre_step")
    assert spec("ant").reward_timings == ("post_step", "pre_step")
    assert make_ant(reward_timing="pre_step").spec.reward_timings == ("pre_step", "post_step")


def test_starts_are_the_standing_pose_with_uniform_noise() -> None:
    # In turns: each simulation reserves some 14 MB of addresses, which a fork has to account for.
    env = make_ant(200)
    starts = []
    for _ in range(20):
        env.reset()
        starts.append(np.concatenate([env.physics.qpos, env.physics.qvel], axis=1))
    qpos, qvel = np.split(np.concatenate(starts), [env.physics.model.nq], axis=1)
    joints = np.array([0, 1, 0, -1, 0, -1, 0, 1])

    def assert_uniform(noise: np.ndarray, limit: float) -> None:
        assert np.abs(noise).max() <= limit
        np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.05 * limit)
        np.testing.assert_allclose(noise.var(axis=0), limit**2 / 3.0, rtol=0.08)

    assert_uniform(qpos[:, :3] - [0.0, 0.0, 0.75], 0.1)
    assert_uniform(qpos[:, 7:] - joints, 0.2)
    assert_uniform(qvel, 0.25)
    turned = Rotation.from_quat(qpos[:, [4, 5, 6, 3]]).as_rotvec()
    # the angle is uniform up to 7.5 degrees and the axis has no preference
    angle = np.linalg.norm(turned, axis=1)
    assert angle.max() <= np.deg2rad(7.5) + 1e-12
    assert angle.mean() == pytest.approx(np.deg2rad(7.5) / 2.0, rel=0.05)
    np.testing.assert_allclose(turned.mean(axis=0), 0.0, atol=0.004)
    assert turned.std(axis=0).max() < 1.1 * turned.std(axis=0).min()


@pytest.mark.parametrize("timing", ["post_step", "pre_step"])
def test_a_saved_ant_continues_bit_for_bit_over_falls(timing: str) -> None:
    env = make_ant(6, seed=1, reward_timing=timing)
    for action in random_actions(env, 40):
        env.step(action)
    saved, obs = pickle.loads(pickle.dumps(env.state_dict())), env._observe()
    actions = random_actions(env, 120, seed=1)
    expected = [env.step(action) for action in actions]
    assert sum(step.terminated.sum() for step in expected) > 6
    elsewhere = make_ant(6, seed=2, reward_timing=timing)
    assert elsewhere.load_state_dict(saved)
    np.testing.assert_array_equal(elsewhere._observe(), obs)
    for action, wanted in zip(actions, expected, strict=True):
        for name, x, y in zip(Step._fields, elsewhere.step(action), wanted, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize(
    ("amplitude", "mean_return", "mean_length"),
    [
        # measured over 600 to 850 episodes; standard deviations 51 and 57
        (0.0, 120.7, 94.5),
        (1.0, 92.5, 71.9),
    ],
)
def test_an_untrained_ant_falls_as_it_was_calibrated_to(
    amplitude: float, mean_return: float, mean_length: float
) -> None:
    env = make_ant(64)
    returns, lengths = [], []
    total = np.zeros(64)
    for action in amplitude * random_actions(env, 600):
        elapsed = env._elapsed + 1
        step = env.step(action)
        total += step.reward
        ended = step.terminated | step.truncated
        returns += total[ended].tolist()
        lengths += elapsed[ended].tolist()
        total[ended] = 0.0
    assert len(returns) > 300
    # three standard errors of both means together are about 11 and 8
    assert np.mean(returns) == pytest.approx(mean_return, abs=12.0)
    assert np.mean(lengths) == pytest.approx(mean_length, abs=9.0)
    assert 40.0 < np.std(returns) < 70.0


def test_the_robot_touches_the_floor_only() -> None:
    model = ant_model()
    data = mujoco.MjData(model)
    data.qpos[7::2] = [0.7, -0.7, 0.7, -0.7]  # front legs swung at each other, and back legs
    data.qpos[8::2] = [1.7, -1.7, -1.7, 1.7]
    data.qpos[2] = 0.3
    mj.mj_forward(model, data)
    assert data.ncon > 0
    assert all(0 in contact.geom for contact in data.contact)
