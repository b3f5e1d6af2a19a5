// The saves of Node clients, reduced to their system calls: node clients.js KIND FILE WRITER SAVES TASKS
'use strict'
const fs = require('fs')
const path = require('path')

const [kind, file, writer, saves, tasks] = process.argv.slice(2)
const message = (content) => ({ role: 'user', content })
const memory = {}
let number = 0

// What a read of an absent file means to the client.
function orFresh(fresh) {
  return (error) => {
    if (error.code === 'ENOENT') return fresh
    throw error
  }
}

const load = (fresh) => fs.promises.readFile(file, 'utf8').then(JSON.parse, orFresh(fresh))

function loadSync(fresh) {
  if (!fs.existsSync(file)) return fresh
  return JSON.parse(fs.readFileSync(file, 'utf8'))
}

async function locked(action) {
  for (;;) {
    try {
      await fs.promises.mkdir(`${file}.lock`)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  await action()
  await fs.promises.rmdir(`${file}.lock`)
}

const kinds = {
  // gemini-cli: everything synchronous, T in one write
  async gemini(content) {
    const list = loadSync([])
    list.push(message(content))
    fs.writeFileSync(file, JSON.stringify(list, null, 2))
  },

  // jsonfile and others: each step on another thread of the pool
  async jsonfile(content) {
    const list = await load([])
    list.push(message(content))
    await fs.promises.writeFile(file, JSON.stringify(list, null, 2) + '\n')
  },

  // write-file-atomic, asynchronous
  async atomic(content) {
    const list = await load([])
    list.push(message(content))
    const temp = `${file}.${process.pid}${number++}`
    const data = Buffer.from(JSON.stringify(list))
    const handle = await fs.promises.open(temp, 'w', 0o666)
    await handle.write(data, 0, data.length, 0)
    await handle.sync()
    await handle.close()
    await fs.promises.chmod(temp, 0o600)
    await fs.promises.rename(temp, file)
  },

  // conf, node-json-db: own temp, synchronous
  async conf(content) {
    const document = loadSync({ messages: [] })
    document.messages.push(message(content))
    const temp = `${file}.tmp-${process.pid}`
    fs.writeFileSync(temp, JSON.stringify(document, undefined, '\t'), { mode: 0o600 })
    fs.renameSync(temp, file)
  },

  // lowdb: a temp name that all processes share
  async lowdb(content) {
    const document = await load({ messages: [] })
    document.messages.push(message(content))
    const temp = path.join(path.dirname(file), `.${path.basename(file)}.tmp`)
    await fs.promises.writeFile(temp, JSON.stringify(document, null, 2), 'utf-8')
    await fs.promises.rename(temp, file)
  },

  // LangChain.js: one read, then the whole store from memory
  async langchain(content) {
    memory.store = memory.store || (await load({}))
    memory.store.user = memory.store.user || { session: { messages: [] } }
    memory.store.user.session.messages.push(message(content))
    await fs.promises.writeFile(file, JSON.stringify(memory.store))
  },

  // Roo-Code: the target goes to .bak, the temp file takes its place, .bak is removed; reading is without the lock
  async roo(content) {
    const list = await load([])
    list.push(message(content))
    await locked(async () => {
      const stamp = `${process.pid}_${number++}`
      await fs.promises.writeFile(`${file}.new_${stamp}.tmp`, JSON.stringify(list))
      let backup = `${file}.bak_${stamp}.tmp`
      await fs.promises.rename(file, backup).catch((error) => {
        backup = orFresh(null)(error)
      })
      await fs.promises.rename(`${file}.new_${stamp}.tmp`, file)
      if (backup) await fs.promises.unlink(backup)
    })
  },
}

async function task(name) {
  for (let n = 0; n < Number(saves); n++) await kinds[kind](`${name}:${n}; from Node, über alles, 你好`)
}

Promise.all(Array.from({ length: Number(tasks) }, (_, i) => task(`${writer}t${i}`)))
