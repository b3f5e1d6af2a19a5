"""The legacy application's HistoryService, unchanged: no lock, no fsync, the whole file for every message."""
import json
import os


class HistoryService:
	def __init__(self, directory="history"):
		self.directory = directory
		os.makedirs(directory, exist_ok=True)

	def _path(self, session_id):
		return os.path.join(self.directory, f"{session_id}.json")

	def get_history(self, session_id):
		path = self._path(session_id)
		if not os.path.exists(path):
			return []
		with open(path, "r", encoding="utf-8") as f:
			return json.load(f)

	def write_history(self, session_id, history):
		with open(self._path(session_id), "w", encoding="utf-8") as f:
			json.dump(history, f, indent=2, ensure_ascii=False)

	def save_message(self, session_id, role, content):
		history = self.get_history(session_id)
		history.append({"role": role, "content": content})
		self.write_history(session_id, history)
