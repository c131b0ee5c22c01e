"""The Gymnasium environment plays by the rules of a run, and Gymnasium's own checker accepts it."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training.gym import HLMATEnv
from hlmat_bench.training.rewards import RewardSettings, episode_rewards
from tests.support.babbling import babble
from tests.training.conftest import SIZE

NAME = "hlmat/Click-v0"


def made(**options: Any) -> HLMATEnv:
    env = gymnasium.make(NAME, **options).unwrapped
    assert isinstance(env, HLMATEnv)
    return env


@pytest.mark.parametrize("more", [{}, {"resize": "none", "settings": {"history": True}, "rewards": "medsam-agent"}])
def test_the_checker_of_gymnasium_accepts_it(options: dict[str, Any], more: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made(**{**options, **more}))


def test_a_thousand_episodes_are_those_of_a_run(babbled: Run, options: dict[str, Any]) -> None:
    env = made(**options)
    for number, episode in enumerate(babbled.episodes()):
        observation, info = env.reset(options={"sample": number})
        assert (info["sample"], info["iou"]) == (episode.sample_id, episode.iou_at(0))
        over, rewards = False, []
        while not over:
            if number % 50 == 0:
                assert env.observation_space.contains(observation)
            reply = babble(episode.sample_id, len(rewards) + 1)
            observation, reward, terminated, truncated, info = env.step(reply)
            over = terminated or truncated
            rewards.append(reward)
        assert rewards == [one.total for one in episode_rewards(episode, RewardSettings.of("gain"))]
        assert (info["end"], info["iou"]) == (episode.stop, episode.steps[-1].iou)
        assert (terminated, truncated) == (episode.stop == "stop", episode.stop == "budget")


def test_the_observation_holds_the_image_as_it_is_sent(options: dict[str, Any]) -> None:
    env = made(**{**options, "size": (64, 80)})
    observation, _ = env.reset(seed=1)
    height, width = observation["size"]
    assert (height, width) == (30, 40)  # fit-long40 of 36 x 48
    assert np.array_equal(observation["image"][:height, :width], env.session.request().image)
    assert not observation["image"][height:].any()
    assert not observation["image"][:, width:].any()
    assert observation["text"] == env.session.request().prompt
    with pytest.raises(UsageError, match="is 30 x 40 .* give a larger size"):
        made(**{**options, "size": (30, 39)}).reset(seed=1)
    assert made(**{**options, "resize": "none"}).observation_space["image"].shape == (*SIZE, 3)


def test_a_seed_draws_the_samples(options: dict[str, Any]) -> None:
    env, other = made(**options), made(**options)
    drawn = [env.reset(seed=7)[1]["sample"], *(env.reset()[1]["sample"] for _ in range(5))]
    assert drawn == [other.reset(seed=7)[1]["sample"], *(other.reset()[1]["sample"] for _ in range(5))]
    assert len(set(drawn)) > 3
    assert env.reset(options={"sample": drawn[3]})[1]["sample"] == drawn[3]


def test_a_search_saves_and_restores(options: dict[str, Any]) -> None:
    env = made(**options)
    env.reset(options={"sample": 3})
    env.step("Positive point: (300, 300)")
    saved = env.save()
    tried = {}
    for reply in ("Positive point: (700, 700)", "Finish", "nothing", "Positive point: (700, 700)"):
        env.restore(saved)
        observation, reward, *_, info = env.step(reply)
        again = tried.setdefault(reply, (observation["image"], reward, info))
        assert np.array_equal(again[0], observation["image"])
        assert again[1:] == (reward, info)
    assert env.session.end is None


def test_the_vector_form_steps_many_episodes(options: dict[str, Any]) -> None:
    envs = gymnasium.make_vec(NAME, num_envs=3, vectorization_mode="sync", **options)
    observations, infos = envs.reset(seed=[1, 2, 3])
    assert observations["image"].shape == (3, 30, 40, 3)
    alone = made(**options)
    expected = []
    for seed in (1, 2, 3):
        alone.reset(seed=seed)
        expected.append(alone.step("Positive point: (500, 500)")[1])
    _, rewards, terminated, truncated, infos = envs.step(["Positive point: (500, 500)"] * 3)
    assert list(rewards) == expected
    assert not terminated.any() | truncated.any()
    assert len(infos["iou"]) == 3
    envs.close()


def test_episodes_end_by_stop_or_by_the_budget(options: dict[str, Any]) -> None:
    env = made(**{**options, "budget": 2, "rewards": {"final_iou": 1}})
    env.reset(seed=0)
    assert env.step("Finish")[2:4] == (True, False)
    with pytest.raises(UsageError, match="over"):
        env.step("Finish")
    env.reset(seed=0)
    assert env.step("what?")[1:4] == (0.0, False, False)
    reward, terminated, truncated, info = env.step("Positive point: (500, 500)")[1:]
    assert (terminated, truncated) == (False, True)
    assert math.isclose(reward, info["iou"])


def test_a_user_s_mistakes_are_said(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Did you mean segmenter"):
        gymnasium.make(NAME, task="hres_synth", segmentor="x")
    with pytest.raises(UsageError, match=r"call reset\(\) first"):
        made(**options).step("Finish")


def test_it_renders_what_the_policy_sees(options: dict[str, Any]) -> None:
    env = made(**{**options, "render_mode": "rgb_array"})
    env.reset(seed=0)
    assert np.array_equal(env.render(), env.session.request().image)


def test_its_spec_can_be_sent_to_another_process(options: dict[str, Any]) -> None:
    spec = pickle.loads(pickle.dumps(gymnasium.make(NAME, **options).spec))
    assert gymnasium.make(spec).unwrapped.observation_space == made(**options).observation_space
    assert gymnasium.make(f"hlmat_bench.training:{NAME}", **options).spec is not None
