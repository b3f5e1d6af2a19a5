// Saves of npm packages: node packages.mjs KIND FILE WRITER SAVES TASKS. See packages.py for what is said on the pipes.
import fs from 'node:fs/promises'
import { existsSync } from 'node:fs'
import path from 'node:path'

const [kind, file, writer, saves, tasks] = process.argv.slice(2)
const message = (content) => ({ role: 'user', content })

// Each gives what makes a task's save(content). A task is one user of the package in the process.
const kinds = {
  async 'write-file-atomic'() {
    const { default: writeFileAtomic } = await import('write-file-atomic')
    return () => async (content) => {
      const list = existsSync(file) ? JSON.parse(await fs.readFile(file, 'utf8')) : []
      list.push(message(content))
      await writeFileAtomic(file, JSON.stringify(list, null, 2))
    }
  },

  async jsonfile() {
    const { default: jsonfile } = await import('jsonfile')
    return () => async (content) => {
      const list = existsSync(file) ? await jsonfile.readFile(file) : []
      list.push(message(content))
      await jsonfile.writeFile(file, list, { spaces: 2 })
    }
  },

  async conf() {
    const { default: Conf } = await import('conf')
    return () => {
      const conf = new Conf({ cwd: path.dirname(file), configName: path.basename(file, '.json') })
      return async (content) => conf.set('messages', [...conf.get('messages', []), message(content)])
    }
  },

  // the database is read anew for every message
  async 'node-json-db'() {
    const { Config, JsonDB } = await import('node-json-db')
    return () => {
      const db = new JsonDB(new Config(file, true, true))
      return async (content) => {
        await db.reload()
        await db.push('/messages[]', message(content))
      }
    }
  },

  // as its documentation has it: read once
  async 'node-json-db in memory'() {
    const { Config, JsonDB } = await import('node-json-db')
    return () => {
      const db = new JsonDB(new Config(file))
      return (content) => db.push('/messages[]', message(content))
    }
  },

  async lowdb() {
    const { JSONFilePreset } = await import('lowdb/node')
    return () => async (content) => {
      const db = await JSONFilePreset(file, { messages: [] })
      await db.update(({ messages }) => messages.push(message(content)))
    }
  },

  async 'lowdb in memory'() {
    const { JSONFilePreset } = await import('lowdb/node')
    const db = await JSONFilePreset(file, { messages: [] })
    return () => (content) => db.update(({ messages }) => messages.push(message(content)))
  },

  async langchain() {
    const { FileSystemChatMessageHistory } = await import('@langchain/community/stores/message/file_system')
    const { HumanMessage } = await import('@langchain/core/messages')
    return () => (content) => {
      const history = new FileSystemChatMessageHistory({ sessionId: 'session', userId: 'user', filePath: file })
      return history.addMessage(new HumanMessage(content))
    }
  },
}

async function run(name, save) {
  for (let n = 0; n < Number(saves); n++) {
    try {
      await save(`${name}:${n}; from Node, über alles, 你好`)
      console.log(`${name} ${n}`)
    } catch (error) {
      console.log(`! ${error.message.slice(0, 200).replaceAll('\n', ' ')}`)
    }
  }
}

const start = await kinds[kind]()
console.log('ready')
process.stdin.once('data', async () => {
  await Promise.all(Array.from({ length: Number(tasks) }, (_, i) => run(`${writer}t${i}`, start())))
  process.stdin.unref()
  process.stdin.destroy()
})
